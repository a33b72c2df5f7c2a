//! What a page consists of. The writers of HTML and Markdown get nothing else, so no text reaches a page unescaped.

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Text.
    Text(String),
    /// Text that is read first.
    Strong(String),
    /// A name, path, digest, key or command, as it is.
    Code(String),
    /// A digest of 64 digits: never broken.
    Digest(String),
    /// Text that explains.
    Small(String),
    /// How bad something is.
    Tag(Tag),
    /// Something to tick.
    Tick(&'static str),
    /// Something to fill in, of so many hundredths of a line.
    Blank(u8),
    /// The next line.
    Break,
}

/// How bad something is; told apart by word, weight and frame, never by colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tag {
    /// It prevents the import.
    Error,
    /// A person has to look at it.
    Warning,
    /// Worth knowing.
    Notice,
    /// Somebody has accepted it.
    Accepted,
}

impl Tag {
    /// The word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Tag::Error => "ERROR",
            Tag::Warning => "WARNING",
            Tag::Notice => "notice",
            Tag::Accepted => "accepted",
        }
    }

    /// Its class in HTML.
    pub(super) fn class(self) -> &'static str {
        match self {
            Tag::Error => "tag error",
            Tag::Warning => "tag warning",
            Tag::Notice => "tag notice",
            Tag::Accepted => "tag",
        }
    }
}

/// A line of spans.
pub(super) type Line = Vec<Span>;

/// Text.
pub(super) fn text(text: impl Into<String>) -> Span {
    Span::Text(text.into())
}

/// Text that is read first.
pub(super) fn strong(text: impl Into<String>) -> Span {
    Span::Strong(text.into())
}

/// A name from outside, truncated and quoted if it pretends to be more than a name.
pub(super) fn name(name: &str) -> Span {
    Span::Code(crate::escape::name(name))
}

/// A sentence of this program: what it has in backticks is code.
pub(super) fn prose(sentence: &str) -> Line {
    let shown = crate::escape::sentence(sentence);
    if !shown.matches('`').count().is_multiple_of(2) {
        return vec![text(shown)];
    }
    let span = |(n, part): (usize, &str)| if n % 2 == 0 { text(part) } else { code(part) };
    shown.split('`').enumerate().filter(|(_, part)| !part.is_empty()).map(span).collect()
}

/// The same, as something that is read first.
pub(super) fn bold(sentence: &str) -> Line {
    let strong = |span| match span {
        Span::Text(text) => Span::Strong(text),
        other => other,
    };
    prose(sentence).into_iter().map(strong).collect()
}

/// A command, path or key.
pub(super) fn code(text: impl Into<String>) -> Span {
    Span::Code(text.into())
}

/// A digest.
pub(super) fn digest(text: impl Into<String>) -> Span {
    Span::Digest(text.into())
}

/// Text that explains.
pub(super) fn small(text: impl Into<String>) -> Span {
    Span::Small(text.into())
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// How its columns are laid out: a class of the style.
    pub(super) class: &'static str,
    /// The heads of its columns.
    pub(super) head: &'static [&'static str],
    /// Its rows.
    pub(super) rows: Vec<Vec<Line>>,
}

/// A bar of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    /// What it is about.
    pub(super) name: String,
    /// A mark before it.
    pub(super) mark: &'static str,
    /// Its parts: how they are filled, and their bytes.
    pub(super) parts: Vec<(Fill, u64)>,
}

/// How a part of a bar is filled, so that it can be told apart in black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// White.
    White,
    /// Dark.
    Dark,
    /// Stripes.
    Stripes,
    /// Dots.
    Dots,
}

/// A picture of bars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// An id for its patterns: one letter.
    pub(super) id: char,
    /// What it shows.
    pub(super) title: &'static str,
    /// Its bars, the longest first.
    pub(super) bars: Vec<Bar>,
    /// How it is read.
    pub(super) caption: String,
}

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// The title of the page.
    Title(String),
    /// The title of a section.
    Heading(String),
    /// The title of a part of a section.
    Sub(String),
    /// A paragraph.
    Text(Line),
    /// A paragraph that explains.
    Note(Line),
    /// The verdict.
    Verdict {
        /// Whether something speaks against the import.
        bad: bool,
        /// The verdict in a few words.
        word: String,
        /// The same in a sentence.
        sentence: Line,
        /// Its parts.
        rows: Vec<(&'static str, Line)>,
    },
    /// A digest to read aloud: 64 hexadecimal digits.
    Aloud(String),
    /// Names with their values.
    Facts(Vec<(&'static str, Line)>),
    /// A table.
    Table(Table),
    /// A picture.
    Picture(Picture),
    /// Commands, one a line.
    Commands(Vec<String>),
    /// Where two persons decide.
    Decision(Decision),
    /// The next page of paper.
    NewPage,
}

/// Where two persons decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// What can be decided.
    pub(super) choices: Line,
    /// What is filled in.
    pub(super) fields: Line,
    /// Who signs.
    pub(super) persons: [&'static str; 2],
    /// What the decision is about.
    pub(super) about: Line,
}
