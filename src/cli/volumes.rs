//! Shows volumes: one line each, and all of them as one word for a shell.

use std::path::Path;

use super::answer::{Table, quoted};
use super::term::Terminal;
use crate::error::Result;
use crate::fs::space::mount_point;
use crate::ops::Observer;
use crate::ops::observer;
use crate::ops::read_back::ReadBack;
use crate::ops::volumes::Written;

/// Adds a line for each volume.
pub(super) fn rows(table: &mut Table, volumes: &[Written]) {
    for v in volumes {
        let size = observer::size(v.bytes);
        table.row("volume", format!("{} of {}  {} ({size}, {} bytes)", v.volume, v.of, v.path, v.bytes));
    }
}

/// Reports what was read back, and that the medium can be removed now. `bundle` need not exist under that name.
pub(super) fn read_back(done: Option<&ReadBack>, bundle: &Path, term: &Terminal) -> Result<()> {
    let Some(done) = done else { return Ok(()) };
    let how = if done.direct { "" } else { " (on this file system it may have come from the page cache)" };
    term.say("Read back", &format!("{} from the medium, all as written{how}", observer::size(done.bytes)));
    let folder = crate::fs::dir::folder_of(bundle);
    let place = mount_point(folder)?;
    term.say("Safe", &format!("to remove the medium after you unmount it: {}", place.display()));
    Ok(())
}

/// The paths as a shell word: a single path as it is, several as the pattern that matches their names.
pub(super) fn pattern(paths: &[String]) -> String {
    let [first, .., last] = paths else { return quoted(&paths.concat()) };
    let same = |a: char, b: char| a == b;
    let front: String = first.chars().zip(last.chars()).take_while(|(a, b)| same(*a, *b)).map(|(a, _)| a).collect();
    let back: Vec<char> =
        first.chars().rev().zip(last.chars().rev()).take_while(|(a, b)| same(*a, *b)).map(|(a, _)| a).collect();
    // The digits of the number belong to the differing part.
    let front = front.trim_end_matches(|c: char| c.is_ascii_digit());
    let back: String = back.into_iter().rev().collect();
    let back = back.trim_start_matches(|c: char| c.is_ascii_digit());
    // The star stays outside the quotes.
    let quoted = |part: &str| if part.is_empty() { String::new() } else { quoted(part) };
    format!("{}*{}", quoted(front), quoted(back))
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn volumes_are_given_as_the_pattern_of_their_names() {
        let all = |of: usize| (1..=of).map(|n| format!("/m/ocp.{n:02}of{of}.tar")).collect::<Vec<_>>();
        assert_eq!(pattern(&all(12)), "/m/ocp.*of12.tar");
        assert_eq!(pattern(&all(2)), "/m/ocp.*of2.tar");
        assert_eq!(pattern(&["b.tar".to_owned()]), "b.tar");
        assert_eq!(pattern(&["my b.tar".to_owned()]), "'my b.tar'");
        assert_eq!(pattern(&["it's.1of2.tar".to_owned(), "it's.2of2.tar".to_owned()]), r"'it'\''s.'*of2.tar");
    }
}
