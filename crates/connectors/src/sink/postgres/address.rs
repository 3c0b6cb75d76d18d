//! How a PostgreSQL server is reached: the URL of a sink, TLS, and what the server's errors mean.
//!
//! | `sslmode` | What it does |
//! | --- | --- |
//! | `disable` | no TLS |
//! | `prefer` (default) | TLS where the server offers it, its certificate not checked |
//! | `require` | TLS; the certificate is checked if `sslrootcert` is given |
//! | `verify-ca`, `verify-full` | TLS; certificate and name are checked, against `sslrootcert` or the system's authorities |
//!
//! A URL holds a password, so no message shows any of it but host, port and database.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::{Code, Error, Result};
use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::sink::url::{Trust, authorities, percent_decoded};

/// How long to wait for a server that does not answer, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server and how to talk to it.
pub(super) struct Address {
    config: Config,
    trust: Trust,
    shown: String,
}

impl Address {
    /// Reads a URL.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let unreadable = || {
            Error::new(Code::Field, "the `url` cannot be read").help(
                "it is `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`; special characters in user and password are percent-encoded",
            )
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(unreadable());
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(percent_decoded(value).ok_or_else(unreadable)?),
                _ => rest.push(pair),
            }
        }
        let mut config: Config = format!("{base}?{}", rest.join("&")).parse().map_err(|_| unreadable())?;
        let is_system = roots.as_deref() == Some("system");
        let file = roots.filter(|path| path != "system").map(PathBuf::from);
        let signed = |file: Option<PathBuf>| Trust::Signed(file);
        let (mode, trust) = match mode {
            Some("disable") => (SslMode::Disable, Trust::Anybody),
            None | Some("prefer" | "allow") => (SslMode::Prefer, Trust::Anybody),
            Some("require") if file.is_none() && !is_system => (SslMode::Require, Trust::Anybody),
            Some("require" | "verify-ca" | "verify-full") => (SslMode::Require, signed(file)),
            Some(_) => {
                return Err(Error::new(Code::Field, "the `url` has an unknown `sslmode`")
                    .help("it is `disable`, `prefer`, `require`, `verify-ca` or `verify-full`"));
            }
        };
        config.ssl_mode(mode);
        // A `@` or `/` in a password that is not encoded makes a part of it look like a host, which would be shown.
        let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-:".contains(c));
        let hosts: Vec<String> = config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        if hosts.is_empty() || hosts.iter().any(|host| !host.starts_with('/') && !is_plain(host)) {
            return Err(unreadable());
        }
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let shown = format!("{}:{port}", hosts.join(","));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("samestream");
        }
        Ok(Self { config, trust, shown })
    }

    /// Connects.
    pub(super) fn connect(&self) -> Result<Client, Trouble> {
        let mut client = match self.config.get_ssl_mode() {
            SslMode::Disable => self.config.connect(NoTls)?,
            _ => self.config.connect(MakeRustlsConnect::new(self.tls()?))?,
        };
        // A process that stands still in the middle of a transaction would keep the one that takes over waiting.
        client.batch_execute("SET idle_in_transaction_session_timeout = '30s'")?;
        Ok(client)
    }

    fn tls(&self) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions of TLS");
        Ok(match &self.trust {
            Trust::Anybody => {
                let verifier = Arc::new(Unchecked(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
            Trust::Signed(file) => builder.with_root_certificates(roots(file.as_ref())?).with_no_client_auth(),
        })
    }

    /// Turns a failure into an error that says what to do.
    pub(super) fn explain(&self, trouble: Trouble) -> Error {
        let error = match trouble {
            Trouble::Ours(error) => return error,
            Trouble::Server(error) => error,
        };
        let Some(db) = error.as_db_error() else {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                let more = inner.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                cause = inner.source();
            }
            return Error::new(Code::Database, format!("PostgreSQL at {}: {text}", self.shown))
                .help("check that the server runs and that host, port and `sslmode` of the `url` are right");
        };
        let state = db.code();
        let message = format!("PostgreSQL at {}: {} (SQLSTATE {})", self.shown, db.message(), state.code());
        let user = self.config.get_user().unwrap_or("the user");
        let database = self.config.get_dbname().unwrap_or(user);
        let is_data = state.code().starts_with("22") || *state == SqlState::PROGRAM_LIMIT_EXCEEDED;
        let error = Error::new(
            match state {
                s if *s == SqlState::DISK_FULL => Code::Disk,
                _ if is_data => Code::Overflow,
                _ => Code::Database,
            },
            message,
        );
        match state {
            s if *s == SqlState::INVALID_PASSWORD || *s == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                error.help("check user and password in the variable that the `url` comes from, and the server's pg_hba.conf")
            }
            s if *s == SqlState::INVALID_CATALOG_NAME => {
                error.help(format!("make it first: `createdb {database}`, or name another database in the `url`"))
            }
            s if *s == SqlState::INVALID_SCHEMA_NAME => {
                error.help("make it first: `CREATE SCHEMA …`, or name another schema in `table`")
            }
            s if *s == SqlState::INSUFFICIENT_PRIVILEGE => error.help(format!(
                "`{user}` needs USAGE and CREATE on the schema, or with `create: false` SELECT, INSERT, UPDATE and DELETE on the table and on `_samestream_epochs`; and TEMPORARY on the database"
            )),
            _ => error,
        }
    }
}

/// Why something did not happen.
pub(super) enum Trouble {
    /// The server or the way to it.
    Server(postgres::Error),
    /// What we say ourselves.
    Ours(Error),
}

impl From<postgres::Error> for Trouble {
    fn from(error: postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl Trouble {
    /// Makes the trouble of bytes that could not be sent.
    pub(super) fn sending(error: std::io::Error) -> Self {
        match error.downcast::<postgres::Error>() {
            Ok(error) => Self::Server(error),
            Err(error) => Self::Ours(Error::io("sending rows to PostgreSQL", error)),
        }
    }

    /// Returns true when the same may go well a little later: the connection broke, the server restarts or is busy.
    pub(super) fn may_pass(&self) -> bool {
        let Self::Server(error) = self else { return false };
        let Some(state) = error.code() else { return error.is_closed() || is_of_network(error) };
        const PASSING: &[SqlState] = &[
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ];
        state.code().starts_with("08") || PASSING.contains(state)
    }
}

/// Returns true when a failure comes of reading or writing the connection.
fn is_of_network(error: &postgres::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<std::io::Error>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Returns the authorities in a file, or those of the system.
fn roots(file: Option<&PathBuf>) -> Result<RootCertStore> {
    let path = authorities(file)?;
    let unreadable =
        |error: rustls::pki_types::pem::Error| Error::new(Code::Io, format!("sslrootcert {}: {error}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).map_err(unreadable)? {
        // Systems list some that cannot be used; one that is missed is missed with a clear error.
        let _ = roots.add(certificate.map_err(unreadable)?);
    }
    if roots.is_empty() {
        return Err(Error::new(Code::Field, format!("sslrootcert {} holds no certificate", path.display())));
    }
    Ok(roots)
}

/// Takes any certificate, if only the server has its key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_read_shows_nothing_of_itself() {
        for url in [
            "SECRET",
            "mysql://u:SECRET@h/db",
            "postgres://u:p@SECRET@h/db",
            "postgres://u:SECRET@h:port/db",
            "postgres://u:p@h/db?sslmode=SECRET",
            "postgres://u:p@h/db?SECRET=1",
            "postgres://u:p@h/db?sslrootcert=%SECRET",
            "postgres:///db?SECRET",
        ] {
            let error = Address::parse(url).map(|_| ()).unwrap_err();
            assert!(error.code == Code::Field && error.help.is_some(), "{url}: {error}");
            assert!(!error.to_string().contains("SECRET"), "{url}: {error}");
        }
    }

    #[test]
    fn a_url_says_how_far_the_server_is_trusted() {
        let parse = |query: &str| Address::parse(&format!("postgres://u:p%40@db.example:5433/x{query}")).unwrap();
        let address = parse("");
        assert_eq!((address.shown.as_str(), address.config.get_password()), ("db.example:5433", Some(&b"p@"[..])));
        assert!(address.config.get_ssl_mode() == SslMode::Prefer && matches!(address.trust, Trust::Anybody));
        let address = parse("?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fa%20b.pem");
        assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
        assert!(matches!(address.trust, Trust::Signed(Some(path)) if path.ends_with("a b.pem")));
        assert!(matches!(parse("?sslmode=require").trust, Trust::Anybody));
        assert!(matches!(parse("?sslmode=require&sslrootcert=system").trust, Trust::Signed(None)));
        assert_eq!(parse("?sslmode=disable").config.get_ssl_mode(), SslMode::Disable);
    }
}
