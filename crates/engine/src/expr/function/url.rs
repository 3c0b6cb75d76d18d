//! Addresses of the web, taken apart as RFC 3986 (appendix B) says. What an address does not have is null.

use arrow::array::ArrayRef;

use super::each::{Maybe, maybe_integers, maybe_texts, texts};
use super::{Family, Function, Kernel, Slot, takes, written};
use crate::expr::operand::{Call, Reason};
use crate::value::DataType;

const BASE: Function = super::base(Family::Urls);

const PARTS: &[&str] = &["HOST", "PATH", "QUERY", "REF", "PROTOCOL", "FILE", "AUTHORITY", "USERINFO"];

pub(super) static URL_ENCODE: Function = Function {
    name: "url_encode",
    help: "The text with every byte but letters, digits and `-_.~` as `%` and two hexadecimal digits",
    signature: "(string) → string",
    types: |arguments| takes(arguments, &URL_ENCODE, &[Slot::Text], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        texts(call, |row| Ok(encoded(text.value(row))))
    }),
    sql: "url_encode({0})",
    flink: "URL_ENCODE({0})",
    duckdb: "url_encode({0})",
    differs: "Flink writes a space as `+`",
    example: ("url_encode('a b/ñ')", "a%20b%2F%C3%B1"),
    ..BASE
};

pub(super) static URL_DECODE: Function = Function {
    name: "url_decode",
    help: "The text with every `%` and two hexadecimal digits as that byte; bytes that are not UTF-8 fail the row",
    signature: "(string) → string",
    types: |arguments| takes(arguments, &URL_DECODE, &[Slot::Text], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        texts(call, |row| {
            decoded(text.value(row), false).ok_or_else(|| Reason::from("url_decode: the bytes are not UTF-8"))
        })
    }),
    sql: "url_decode({0})",
    flink: "URL_DECODE({0})",
    duckdb: "url_decode({0})",
    differs: "Flink reads `+` as a space, and gives null where the text cannot be decoded",
    example: ("url_decode('caf%C3%A9+1')", "café+1"),
    ..BASE
};

pub(super) static PARSE_URL: Function = Function {
    name: "parse_url",
    help: "A part of an address: HOST, PATH, QUERY, REF, PROTOCOL, FILE, AUTHORITY, USERINFO; or the value of a key of its QUERY, as written",
    signature: "(string, part string[, key string]) → string",
    types: |arguments| {
        let signature = takes(arguments, &PARSE_URL, &[Slot::Text, Slot::Text, Slot::Text], 2, DataType::String)?;
        let part = written(arguments, 1).unwrap_or_default().to_ascii_uppercase();
        if !PARTS.contains(&part.as_str()) {
            return Err(format!("`parse_url` does not know the part `{part}`; it knows {}", PARTS.join(", ")));
        }
        if arguments.len() == 3 && part != "QUERY" {
            return Err("a key of `parse_url` is one of its part QUERY".into());
        }
        Ok(signature)
    },
    kernel: Kernel::Rows(parse_url),
    sql: "parse_url({0*, })",
    flink: "PARSE_URL({0*, })",
    constants: &[(1, PARTS)],
    differs: "Flink gives null for an address that Java's URL does not read",
    example: ("parse_url('https://shop.example/cart?id=7', 'QUERY', 'id')", "7"),
    ..BASE
};

macro_rules! url_part {
    ($name:ident, $sql_name:literal, $help:literal, $template:literal, $part:expr, $example:expr) => {
        pub(super) static $name: Function = Function {
            name: $sql_name,
            help: $help,
            signature: "(string) → string",
            types: |arguments| takes(arguments, &$name, &[Slot::Text], 1, DataType::String),
            kernel: Kernel::Rows(|call| {
                let text = call.texts(0);
                maybe_texts(call, |row| {
                    let part: fn(Address<'_>) -> Option<&str> = $part;
                    Ok(part(Address::new(text.value(row))))
                })
            }),
            sql: $template,
            example: $example,
            ..BASE
        };
    };
}

url_part!(
    URL_EXTRACT_HOST,
    "url_extract_host",
    "The host of an address, without user and port",
    "url_extract_host({0})",
    |address| address.host(),
    ("url_extract_host('https://me@shop.example:8443/cart')", "shop.example")
);
url_part!(
    URL_EXTRACT_PATH,
    "url_extract_path",
    "The path of an address, which may be empty",
    "url_extract_path({0})",
    |address| Some(address.path),
    ("url_extract_path('https://shop.example/cart?id=7')", "/cart")
);
url_part!(
    URL_EXTRACT_QUERY,
    "url_extract_query",
    "What stands between `?` and `#` of an address",
    "url_extract_query({0})",
    |address| address.query,
    ("url_extract_query('/cart?id=7#top')", "id=7")
);
url_part!(
    URL_EXTRACT_PROTOCOL,
    "url_extract_protocol",
    "The scheme of an address",
    "url_extract_protocol({0})",
    |address| address.scheme,
    ("url_extract_protocol('https://shop.example/')", "https")
);
url_part!(
    URL_EXTRACT_FRAGMENT,
    "url_extract_fragment",
    "What stands behind `#` of an address",
    "url_extract_fragment({0})",
    |address| address.fragment,
    ("url_extract_fragment('/cart?id=7#top')", "top")
);

pub(super) static URL_EXTRACT_PORT: Function = Function {
    name: "url_extract_port",
    help: "The port of an address, if it is written there",
    signature: "(string) → int64",
    types: |arguments| takes(arguments, &URL_EXTRACT_PORT, &[Slot::Text], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        maybe_integers(call, |row| Ok(Address::new(text.value(row)).port()))
    }),
    sql: "url_extract_port({0})",
    example: ("url_extract_port('https://shop.example:8443/cart')", "8443"),
    ..BASE
};

pub(super) static URL_EXTRACT_PARAMETER: Function = Function {
    name: "url_extract_parameter",
    help: "The value of the first parameter of that name in an address, decoded, `+` as a space; null when it is not UTF-8",
    signature: "(string, name string) → string",
    types: |arguments| takes(arguments, &URL_EXTRACT_PARAMETER, &[Slot::Text, Slot::Text], 2, DataType::String),
    kernel: Kernel::Rows(|call| {
        let (text, name) = (call.texts(0), call.texts(1));
        maybe_texts(call, |row| {
            let address = Address::new(text.value(row));
            let name = name.value(row);
            Ok(address.parameters().find_map(|(key, value)| {
                (decoded(key, true).as_deref() == Some(name)).then(|| decoded(value, true)).flatten()
            }))
        })
    }),
    sql: "url_extract_parameter({0}, {1})",
    example: ("url_extract_parameter('/find?q=red+shoes&n=1', 'q')", "red shoes"),
    ..BASE
};

/// An address in parts.
#[derive(Clone, Copy, Debug)]
struct Address<'t> {
    scheme: Option<&'t str>,
    authority: Option<&'t str>,
    path: &'t str,
    query: Option<&'t str>,
    fragment: Option<&'t str>,
}

impl<'t> Address<'t> {
    fn new(text: &'t str) -> Self {
        let cut = |text: &'t str, sign: char| match text.split_once(sign) {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let (rest, fragment) = cut(text, '#');
        let (rest, query) = cut(rest, '?');
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, after)) if !scheme.is_empty() && !scheme.contains('/') => (Some(scheme), after),
            _ => (None, rest),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            None => (None, rest),
        };
        Self { scheme, authority, path, query, fragment }
    }

    fn user(&self) -> Option<&'t str> {
        self.authority?.rsplit_once('@').map(|(user, _)| user)
    }

    /// Returns host and port.
    fn server(&self) -> Option<(&'t str, Option<&'t str>)> {
        let server = self.authority?.rsplit_once('@').map_or(self.authority?, |(_, server)| server);
        // The colons of an address in brackets are its own.
        let brackets = server.rfind(']').map_or(0, |end| end + 1);
        Some(match server[brackets..].rfind(':') {
            Some(colon) => (&server[..brackets + colon], Some(&server[brackets + colon + 1..])),
            None => (server, None),
        })
    }

    fn host(&self) -> Option<&'t str> {
        self.server().map(|(host, _)| host).filter(|host| !host.is_empty())
    }

    fn port(&self) -> Option<i64> {
        let port = self.server()?.1?;
        port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok()).flatten().map(i64::from)
    }

    fn parameters(&self) -> impl Iterator<Item = (&'t str, &'t str)> {
        let pairs = self.query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

fn parse_url(call: &mut Call<'_>) -> ArrayRef {
    let (text, part) = (call.texts(0), call.texts(1));
    let key = (call.arguments.len() == 3).then(|| call.texts(2));
    let chosen = |row: usize| -> Maybe<String> {
        let text = text.value(row);
        let address = Address::new(text);
        let part = match part.value(row).to_ascii_uppercase().as_str() {
            "HOST" => address.host(),
            "PATH" => Some(address.path),
            "QUERY" => match &key {
                Some(key) => address.parameters().find(|(name, _)| *name == key.value(row)).map(|(_, value)| value),
                None => address.query,
            },
            "REF" => address.fragment,
            "PROTOCOL" => address.scheme,
            "AUTHORITY" => address.authority,
            "USERINFO" => address.user(),
            "FILE" => {
                let query = address.query.map_or(String::new(), |query| format!("?{query}"));
                return Ok(Some(format!("{}{query}", address.path)));
            }
            other => unreachable!("`{other}` was refused"),
        };
        Ok(part.map(String::from))
    };
    maybe_texts(call, chosen)
}

fn encoded(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            result.push_str(&format!("%{byte:02X}"));
        }
    }
    result
}

/// Decodes `%xx`; what only looks like it stays. None when the bytes are not UTF-8.
fn decoded(text: &str, plus_is_space: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |place: usize| bytes.get(place).and_then(|byte| char::from(*byte).to_digit(16));
    let mut result = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while place < bytes.len() {
        match (bytes[place], digit(place + 1), digit(place + 2)) {
            (b'%', Some(high), Some(low)) => {
                result.push((high << 4 | low) as u8);
                place += 3;
                continue;
            }
            (b'+', ..) if plus_is_space => result.push(b' '),
            (byte, ..) => result.push(byte),
        }
        place += 1;
    }
    String::from_utf8(result).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart_as_the_rfc_says() {
        // The example of appendix B.
        let address = Address::new("http://www.ics.uci.edu/pub/ietf/uri/#Related");
        assert_eq!((address.scheme, address.authority), (Some("http"), Some("www.ics.uci.edu")));
        assert_eq!((address.path, address.query, address.fragment), ("/pub/ietf/uri/", None, Some("Related")));
        for (text, host, port, user) in [
            ("https://a.b:80/c", Some("a.b"), Some(80), None),
            ("https://u:p@a.b/c?x=http://z", Some("a.b"), None, Some("u:p")),
            ("https://[::1]:9/", Some("[::1]"), Some(9), None),
            ("https://[::1]/", Some("[::1]"), None, None),
            ("//a.b", Some("a.b"), None, None),
            ("https://a:99999/", Some("a"), None, None),
            ("https://a:+1/", Some("a"), None, None),
            ("mailto:x@y", None, None, None),
            ("/c?d", None, None, None),
            ("file:///etc/x", None, None, None),
            ("", None, None, None),
        ] {
            let address = Address::new(text);
            assert_eq!((address.host(), address.port(), address.user()), (host, port, user), "{text}");
        }
    }

    #[test]
    fn escapes_are_read_where_they_are_whole() {
        assert_eq!(decoded("a%2", false).as_deref(), Some("a%2"));
        assert_eq!(decoded("%zz%41+", false).as_deref(), Some("%zzA+"));
        assert_eq!(decoded("%41+", true).as_deref(), Some("A "));
        assert_eq!(decoded("%ff", false), None);
        for text in ["", "a b", "ñ/%", "+"] {
            assert_eq!(decoded(&encoded(text), false).as_deref(), Some(text));
        }
    }
}
