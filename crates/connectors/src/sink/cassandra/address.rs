//! How a Cassandra cluster is reached: `cassandra://USER:PASSWORD@HOST:PORT,HOST:PORT?datacenter=NAME&sslmode=…`.
//!
//! | `sslmode` | What it does |
//! | --- | --- |
//! | `disable` (default) | no TLS |
//! | `require` | TLS; the certificate is checked if `sslrootcert` is given |
//! | `verify-ca`, `verify-full` (default with `sslrootcert`) | TLS; certificate and name are checked, against `sslrootcert` or the system's authorities |
//!
//! A URL holds a password, so no message shows any of it but hosts, ports and the path of `sslrootcert`.

use std::path::PathBuf;

use engine::{Code, Error, Result};

use crate::sink::url::{Trust, percent_decoded};

/// The port where none is named.
const PORT: u16 = 9042;

/// A cluster.
#[derive(Debug)]
pub(super) struct Address {
    /// Nodes to ask first, `HOST:PORT`.
    pub(super) nodes: Vec<String>,
    /// User and password.
    pub(super) user: Option<(String, String)>,
    /// The datacenter whose nodes are asked; None: any.
    pub(super) datacenter: Option<String>,
    /// Whose certificates are trusted; None: no TLS.
    pub(super) trust: Option<Trust>,
}

impl Address {
    /// Reads a URL.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let unreadable = || {
            Error::new(Code::Field, "the `url` cannot be read").help(
                "it is `cassandra://USER:PASSWORD@HOST:PORT,HOST:PORT?datacenter=NAME&sslmode=…`; special characters in user and password are percent-encoded",
            )
        };
        let rest = url.strip_prefix("cassandra://").or_else(|| url.strip_prefix("scylla://")).ok_or_else(unreadable)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, rest),
        };
        let user = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            // A `@` or `/` that is not encoded may be the middle of a password.
            Some((name, password)) if !name.contains(['@', '/']) && !password.contains(['@', '/']) => {
                Some((percent_decoded(name).ok_or_else(unreadable)?, percent_decoded(password).ok_or_else(unreadable)?))
            }
            Some(_) => return Err(unreadable()),
            None => None,
        };
        let (mut datacenter, mut mode, mut roots) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("datacenter", name)) => datacenter = Some(percent_decoded(name).ok_or_else(unreadable)?),
                Some(("sslmode", name)) => mode = Some(name),
                Some(("sslrootcert", path)) => roots = Some(percent_decoded(path).ok_or_else(unreadable)?),
                _ => return Err(unreadable()),
            }
        }
        let is_named = roots.is_some();
        let file = roots.filter(|path| path != "system").map(PathBuf::from);
        let trust = match mode {
            None if !is_named => None,
            Some("disable") => None,
            Some("require") if !is_named => Some(Trust::Anybody),
            None | Some("require" | "verify-ca" | "verify-full") => Some(Trust::Signed(file)),
            Some(_) => {
                return Err(Error::new(Code::Field, "the `url` has an unknown `sslmode`")
                    .help("it is `disable`, `require`, `verify-ca` or `verify-full`"));
            }
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let nodes = hosts.split(',').map(|host| node(host).ok_or_else(unreadable)).collect::<Result<_>>()?;
        Ok(Self { nodes, user, datacenter, trust })
    }

    /// Returns what of it may be shown.
    pub(super) fn shown(&self) -> String {
        self.nodes.join(",")
    }

    /// Returns the names of the nodes to ask first, without their ports.
    pub(super) fn hosts(&self) -> Vec<String> {
        let name = |node: &String| node.rsplit_once(':').map_or(node.as_str(), |(host, _)| host).to_string();
        self.nodes.iter().map(name).collect()
    }
}

/// Returns host and port, if they are plain.
fn node(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        // The end of an IPv6 address without a port.
        Some(_) if text.ends_with(']') => (text, PORT),
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, PORT),
    };
    let is_plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "._-[]:".contains(c));
    is_plain.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_a_wrong_one_shows_nothing() {
        let address = Address::parse("cassandra://us%40er:p%3Aw@a.example:1,b,[::1]?datacenter=dc%201").unwrap();
        assert_eq!(address.nodes, ["a.example:1", "b:9042", "[::1]:9042"]);
        assert_eq!(address.hosts(), ["a.example", "b", "[::1]"]);
        assert_eq!(address.user, Some(("us@er".into(), "p:w".into())));
        assert_eq!(address.datacenter.as_deref(), Some("dc 1"));
        assert_eq!(address.shown(), "a.example:1,b:9042,[::1]:9042");
        for url in [
            "SECRET",
            "http://SECRET@h",
            "cassandra://u:SECRET@x@h",
            "cassandra://u:SECRET/x@h",
            "cassandra://u:SECRET?x@h",
            "cassandra://u:p@SECRET:x",
            "cassandra://u:p@h?SECRET=1",
            "cassandra://u:p@h?sslmode=SECRET",
            "cassandra://u:p@",
            "cassandra://u:%SECRET@h",
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(error.code == Code::Field && error.help.is_some(), "{url}: {error}");
            assert!(!error.to_string().contains("SECRET"), "{url}: {error}");
        }
    }

    #[test]
    fn a_url_says_how_far_the_servers_are_trusted() {
        let trust = |query: &str| Address::parse(&format!("cassandra://u:p@h{query}")).unwrap().trust;
        let signed = |path: &str| Some(Trust::Signed(Some(PathBuf::from(path))));
        assert_eq!(trust(""), None);
        assert_eq!(trust("?sslmode=disable"), None);
        assert_eq!(trust("?sslmode=require"), Some(Trust::Anybody));
        assert_eq!(trust("?sslrootcert=%2Fa%20b.pem"), signed("/a b.pem"), "who names an authority wants it asked");
        assert_eq!(trust("?sslmode=require&sslrootcert=a"), signed("a"));
        assert_eq!(trust("?sslmode=verify-full&sslrootcert=a"), signed("a"));
        assert_eq!(trust("?sslmode=verify-full"), Some(Trust::Signed(None)));
        assert_eq!(trust("?sslmode=require&sslrootcert=system"), Some(Trust::Signed(None)));
    }
}
