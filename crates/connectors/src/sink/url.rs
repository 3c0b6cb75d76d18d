//! What the addresses of servers share: how characters are encoded in them, and whose certificates are trusted.

use std::path::PathBuf;

use engine::{Code, Error, Result};

/// Where systems keep the certificates of the authorities they trust.
const SYSTEM_ROOTS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Whose certificates are trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Anybody,
    /// Those signed by the authorities in a file; None: those of the system.
    Signed(Option<PathBuf>),
}

/// Returns the file with the authorities that are trusted: the one that is named, or that of the system, which the variable
/// SSL_CERT_FILE may name.
pub(super) fn authorities(file: Option<&PathBuf>) -> Result<PathBuf> {
    let system = || {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        named.into_iter().chain(SYSTEM_ROOTS.iter().map(PathBuf::from)).find(|path| path.is_file())
    };
    file.cloned().or_else(system).ok_or_else(|| {
        Error::new(Code::NotFound, "this system has no list of trusted authorities")
            .help("name a file with the authority's certificate by `sslrootcert=` in the `url`")
    })
}

/// Returns a text whose percent-encoded characters are what they stand for.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok().filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_stand_for_bytes() {
        assert_eq!(percent_decoded("a%20b%C3%a9").as_deref(), Some("a bé"));
        for wrong in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(percent_decoded(wrong), None, "{wrong}");
        }
    }
}
