//! A command as words, as a shell would split it; nothing else of a shell.

/// Splits a command at blanks; quotes and backslashes keep them. `None` if a quote has no end.
pub(super) fn split(command: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (Some(_), '\\') => match chars.next()? {
                c @ ('"' | '\\' | '$' | '`') => word.get_or_insert_default().push(c),
                c => word.get_or_insert_default().extend(['\\', c]),
            },
            (None, '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (quote.is_none()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_command_is_split_as_a_shell_splits_it() {
        let words = |text: &str| split(text).map(|words| words.join("|"));
        assert_eq!(words("yara -w  rules.yar {}"), Some("yara|-w|rules.yar|{}".into()));
        assert_eq!(words(r#"a 'b c' "d \" e" f\ g '' "#), Some("a|b c|d \" e|f g|".into()));
        assert_eq!(words("a 'b"), None);
        assert_eq!(words("a\\"), None);
    }
}
