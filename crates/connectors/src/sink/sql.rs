//! What statements for databases share: names in them. Values never become a part of their text.

/// Returns a name as an identifier. Only plain names come here; a quote in one could still not end it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns true for a name of letters, digits and `_` that a database with names of up to so many bytes keeps whole.
pub(super) fn is_plain(name: &str, most: usize) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.len() <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_does_not_end_an_identifier_and_no_name_with_one_is_plain() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        for name in ["", "1a", "a b", "a\"b", "a.b", "ä", "abcde"] {
            assert!(!is_plain(name, 4), "{name}");
        }
        assert!(["a", "_1", "ABCD"].iter().all(|name| is_plain(name, 4)));
    }
}
