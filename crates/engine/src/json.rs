//! JSON text: its one canonical form, ways into it, and values written as it.
//!
//! A value of type `json` is held as canonical text, so that equal means equal bytes: no white space between tokens; the
//! keys of an object in bytewise order, none twice; strings with as few escapes as JSON allows (`\"`, `\\`, `\n`, `\r`,
//! `\t`, other control characters `\u00xx`); numbers as they were written, so that `1`, `1.0` and `1e0` differ and no digit
//! is lost. A bare `null` is no value of type `json` but null itself; inside arrays and objects it is kept.
//!
//! As in a record, arrays and objects nest at most [`MAX_DEPTH`] deep and numbers have at most [`MAX_NUMBER`] characters.

mod text;

pub use text::{text_of, write_string, write_value};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;
/// How many characters a number may have.
pub const MAX_NUMBER: usize = 64;

/// Returns the canonical form of a JSON text, None for `null`; or what is wrong with the text, and where.
pub fn canonical(text: &str) -> Result<Option<String>, String> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0 };
    let mut out = Vec::with_capacity(text.len());
    reader.value(0, &mut out)?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.expected("nothing more"));
    }
    let out = String::from_utf8(out).expect("it is made of characters of the text");
    Ok((out != "null").then_some(out))
}

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// `null`, inside an array or object.
    Null,
}

/// Returns what a canonical text is.
pub fn kind(text: &str) -> Kind {
    match text.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

/// Returns the elements of a canonical array; none of anything else.
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    let mut rest = inner;
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let (value, after) = rest.split_at(value_end(rest));
            rest = after.strip_prefix(',').unwrap_or_default();
            value
        })
    })
}

/// Returns the keys of a canonical object, as they are written, with their values; none of anything else.
pub fn members(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    let mut rest = inner;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (key, after) = rest.split_at(value_end(rest));
        let after = after.strip_prefix(':')?;
        let (value, after) = after.split_at(value_end(after));
        rest = after.strip_prefix(',').unwrap_or_default();
        Some((key, value))
    })
}

/// Returns the value that a key has in a canonical object.
pub fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut quoted = Vec::with_capacity(key.len() + 2);
    write_string(key, &mut quoted);
    members(text).find(|(found, _)| found.as_bytes() == quoted).map(|(_, value)| value)
}

/// Returns the characters of a canonical string; None of anything else.
pub fn characters(text: &str) -> Option<String> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0 };
    if reader.bytes.first() != Some(&b'"') {
        return None;
    }
    reader.string().ok()
}

/// Returns where the value that a canonical text begins with ends.
fn value_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (0, 0usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => (at, open) = (at + 1, open + 1),
            b'}' | b']' => (at, open) = (at + 1, open.saturating_sub(1)),
            b',' | b':' if open == 0 => return at,
            _ => at += 1,
        }
    }
    at.min(bytes.len())
}

/// Returns the byte after the string that begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Reads JSON text as RFC 8259 has it.
struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    fn expected(&self, what: &str) -> String {
        match self.at < self.bytes.len() {
            true => format!("expected {what} at byte {}", self.at),
            false => format!("expected {what} at the end"),
        }
    }

    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.bytes.get(self.at).copied()
    }

    fn pass(&mut self, byte: u8, what: &str) -> Result<(), String> {
        if self.peek() != Some(byte) {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a value and writes its canonical form.
    fn value(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
        match self.peek() {
            Some(b'{') => self.object(self.deeper(depth)?, out),
            Some(b'[') => self.array(self.deeper(depth)?, out),
            Some(b'"') => {
                write_string(&self.string()?, out);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(out),
            _ => {
                let rest = &self.bytes[self.at..];
                let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
                let word = word.ok_or_else(|| self.expected("a value"))?;
                self.at += word.len();
                out.extend_from_slice(word);
                Ok(())
            }
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, String> {
        match depth < MAX_DEPTH {
            true => Ok(depth + 1),
            false => Err(format!("nests more than {MAX_DEPTH} deep at byte {}", self.at)),
        }
    }

    fn array(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
        self.at += 1;
        out.push(b'[');
        if self.peek() != Some(b']') {
            loop {
                self.value(depth, out)?;
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                out.push(b',');
            }
        }
        self.pass(b']', "',' or ']'")?;
        out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
        self.at += 1;
        out.push(b'{');
        let first = out.len();
        let mut members: Vec<(String, std::ops::Range<usize>)> = Vec::new();
        if self.peek() != Some(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.expected("a key"));
                }
                let key = self.string()?;
                if !members.is_empty() {
                    out.push(b',');
                }
                let start = out.len();
                write_string(&key, out);
                self.pass(b':', "':'")?;
                out.push(b':');
                self.value(depth, out)?;
                members.push((key, start..out.len()));
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
        }
        self.pass(b'}', "',' or '}'")?;
        if !members.is_sorted_by(|a, b| a.0 < b.0) {
            members.sort_by(|a, b| a.0.cmp(&b.0));
            if let Some(twice) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(format!("has the key `{}` twice before byte {}", twice[0].0, self.at));
            }
            let written = out.split_off(first);
            for (i, (_, place)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&written[place.start - first..place.end - first]);
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let start = self.at;
        self.at += usize::from(self.bytes[start] == b'-');
        let first = self.at;
        self.digits()?;
        if self.at > first + 1 && self.bytes[first] == b'0' {
            self.at = first + 1;
            return Err(self.expected("no digit after a leading zero"));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        if self.at - start > MAX_NUMBER {
            return Err(format!("has a number of more than {MAX_NUMBER} characters at byte {start}"));
        }
        out.extend_from_slice(&self.bytes[start..self.at]);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), String> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.expected("a digit")) } else { Ok(()) }
    }

    /// Reads a string, from its opening quote, and returns its characters.
    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut characters = String::new();
        loop {
            let from = self.at;
            let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
            self.at += self.bytes[from..].iter().take_while(|byte| plain(byte)).count();
            characters.push_str(&self.text[from..self.at]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(characters);
                }
                Some(b'\\') => characters.push(self.escape()?),
                Some(_) => return Err(self.expected("no control character in a string")),
                None => return Err(self.expected("a closing quote")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let start = self.at;
        self.at += 2;
        Ok(match self.bytes.get(start + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let lone = || format!("has half of a surrogate pair at byte {start}");
                let mut units = vec![self.hex()?];
                if (0xd800..0xdc00).contains(&units[0]) && self.bytes[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    units.push(self.hex()?);
                }
                let mut read = char::decode_utf16(units);
                match (read.next(), read.next()) {
                    (Some(Ok(character)), None) => character,
                    _ => return Err(lone()),
                }
            }
            _ => {
                self.at = start + 1;
                return Err(self.expected("an escape"));
            }
        })
    }

    fn hex(&mut self) -> Result<u16, String> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|byte| char::from(*byte).to_digit(16));
            value = value * 16 + digit.ok_or_else(|| self.expected("four hex digits"))? as u16;
            self.at += 1;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        canonical(text).unwrap().unwrap()
    }

    #[test]
    fn there_is_one_text_for_a_value() {
        assert_eq!(one(r#" { "b" : [ 1 , true ] , "a" : null , "" : { } } "#), r#"{"":{},"a":null,"b":[1,true]}"#);
        assert_eq!(one(r#""\u0041\/\b\f\n\u00e9\ud83d\ude00\"""#), "\"A/\\u0008\\u000c\\né😀\\\"\"");
        assert_eq!(one("[1,1.0,1e0,-0,100000000000000000000000000]"), "[1,1.0,1e0,-0,100000000000000000000000000]");
        assert_eq!(canonical(" null "), Ok(None));
        // Bytewise, by the characters and not by how they were escaped.
        assert_eq!(one(r#"{"é":1,"z":2,"\u0061":3,"Z":4}"#), r#"{"Z":4,"a":3,"z":2,"é":1}"#);
    }

    #[test]
    fn a_canonical_text_is_its_own() {
        for text in [r#"{"a":[{"b":"\\\"\n\u0001"}],"c":-1.5E+3}"#, "[]", "{}", "\"\"", "0", "false"] {
            assert_eq!(one(text), text);
        }
    }

    #[test]
    fn what_is_no_json_says_where() {
        for (text, why) in [
            ("", "expected a value at the end"),
            ("{\"a\":1,}", "expected a key at byte 7"),
            ("[1 2]", "expected ',' or ']' at byte 3"),
            ("01", "expected no digit after a leading zero at byte 1"),
            ("1.", "expected a digit at the end"),
            ("NaN", "expected a value at byte 0"),
            ("\"\t\"", "expected no control character in a string at byte 1"),
            ("\"\\x\"", "expected an escape at byte 2"),
            ("\"\\ud800\"", "has half of a surrogate pair at byte 1"),
            ("\"\\ud800\\u0041\"", "has half of a surrogate pair at byte 1"),
            ("\"\\udc00\"", "has half of a surrogate pair at byte 1"),
            ("{\"b\":1,\"a\":2,\"\\u0062\":3}", "has the key `b` twice before byte 24"),
            ("1 1", "expected nothing more at byte 2"),
        ] {
            assert_eq!(canonical(text), Err(why.into()), "{text}");
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(canonical(&deep(MAX_DEPTH)).is_ok());
        assert!(canonical(&deep(MAX_DEPTH + 1)).is_err());
        assert!(canonical(&"1".repeat(MAX_NUMBER)).is_ok());
        assert!(canonical(&"1".repeat(MAX_NUMBER + 1)).is_err());
    }

    #[test]
    fn a_text_is_taken_apart() {
        let text = r#"{"a,\"]":[1,{"x":"}"},[]],"b":"\n"}"#;
        let found: Vec<_> = members(text).collect();
        assert_eq!(found, [(r#""a,\"]""#, r#"[1,{"x":"}"},[]]"#), (r#""b""#, r#""\n""#)]);
        assert_eq!(elements(found[0].1).collect::<Vec<_>>(), ["1", r#"{"x":"}"}"#, "[]"]);
        assert_eq!(member(text, "a,\"]"), Some(found[0].1));
        assert_eq!(member(text, "c"), None);
        assert_eq!(characters(found[1].1).as_deref(), Some("\n"));
        assert_eq!((elements("{}").count(), members("[]").count(), elements("[]").count()), (0, 0, 0));
    }

    #[test]
    fn nonsense_is_taken_apart_without_a_panic() {
        for text in ["{", "[", "{\"", "{\"a\"}", "{a}", "[,]", "\"\\", "[\"\\", "{\"a\":}", "]", ""] {
            let _ = (elements(text).count(), members(text).count(), characters(text), kind(text), member(text, "a"));
        }
    }
}
