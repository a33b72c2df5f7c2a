//! Lists of patterns as OpenSSH has them (`ssh_config(5)`, "PATTERNS"), with `!` for negation.

use crate::pattern::matches;

/// Whether `text` matches a comma-separated list: at least one pattern matches and no negated one does.
pub(super) fn list_matches(list: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(negated, text) => return false,
            Some(_) => {}
            None => found |= matches(pattern, text),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negated_pattern_wins() {
        assert!(list_matches("git,mirror-bundle.v1.*", "mirror-bundle.v1.builder"));
        assert!(!list_matches("mirror-bundle.v1.*,!*.builder", "mirror-bundle.v1.builder"));
        assert!(!list_matches("!git", "file"), "a negation alone matches nothing");
        assert!(!list_matches("", "file"));
    }
}
