//! Whose certificates are taken: OpenSSL's part in a connection.
//!
//! The driver has OpenSSL compare a node's certificate with the address that it connects to. Nodes say their addresses as
//! numbers, and certificates often have names only; so one that has the name of a host of the `url` is taken too.

use engine::{Code, Error, Result};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Ref, X509StoreContextRef, X509VerifyResult};

use super::address::Address;
use crate::sink::url::{Trust, authorities};

/// What OpenSSL says of a certificate without the address that was connected to (`X509_V_ERR_IP_ADDRESS_MISMATCH`).
const OTHER_ADDRESS: i32 = 64;

/// Prepares connections.
pub(super) fn connector(address: &Address, trust: &Trust) -> Result<SslConnectorBuilder> {
    let failed = |error: openssl::error::ErrorStack| Error::new(Code::Database, format!("OpenSSL: {error}"));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
    let Trust::Signed(file) = trust else {
        builder.set_verify(SslVerifyMode::NONE);
        return Ok(builder);
    };
    let path = authorities(file.as_ref())?;
    let text = std::fs::read(&path).map_err(|error| Error::io(format!("sslrootcert {}", path.display()), error))?;
    let unreadable = |what: &str| Error::new(Code::Field, format!("sslrootcert {} holds {what}", path.display()));
    let certificates = X509::stack_from_pem(&text).map_err(|_| unreadable("something that is no certificate"))?;
    if certificates.is_empty() {
        return Err(unreadable("no certificate"));
    }
    let mut store = X509StoreBuilder::new().map_err(failed)?;
    for certificate in certificates {
        // Systems list some twice; one that is missed is missed with a clear error.
        let _ = store.add_cert(certificate);
    }
    builder.set_cert_store(store.build());
    let hosts = address.hosts();
    builder.set_verify_callback(SslVerifyMode::PEER, move |is_good, context| {
        if is_good || !has_name(context, &hosts) {
            return is_good;
        }
        context.set_error(X509VerifyResult::OK);
        true
    });
    Ok(builder)
}

/// Returns true when a certificate was refused for the address alone, and has one of these names.
fn has_name(context: &X509StoreContextRef, hosts: &[String]) -> bool {
    context.error().as_raw() == OTHER_ADDRESS
        && context.error_depth() == 0
        && context.current_cert().is_some_and(|certificate| is_for(certificate, hosts))
}

fn is_for(certificate: &X509Ref, hosts: &[String]) -> bool {
    let names = certificate.subject_alt_names();
    let mut names = names.iter().flatten().filter_map(|name| name.dnsname());
    names.any(|name| hosts.iter().any(|host| is_name_of(name, host)))
}

/// Returns true for the name itself, and for `*` in the place of its first part. Addresses are no names.
fn is_name_of(name: &str, host: &str) -> bool {
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    let same = |a: &str, b: &str| !a.is_empty() && a.eq_ignore_ascii_case(b);
    match (name.strip_prefix("*."), host.split_once('.')) {
        _ if is_address => false,
        (Some(rest), Some((first, host))) => rest.contains('.') && !first.is_empty() && same(rest, host),
        (Some(_), None) => false,
        (None, _) => same(name, host),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::path::{Path, PathBuf};

    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Rsa;
    use openssl::ssl::{Ssl, SslAcceptor};
    use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
    use openssl::x509::{X509Builder, X509NameBuilder};

    use super::*;

    type Identity = (PKey<Private>, X509);

    /// Makes a certificate for these names, signed by another one or by itself.
    fn certificate(names: &[&str], by: Option<&Identity>) -> Identity {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut builder = X509Builder::new().unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", if by.is_some() { "node" } else { "authority" }).unwrap();
        let name = name.build();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(by.map_or(&name, |(_, by)| by.subject_name())).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        match by {
            None => builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap(),
            Some((_, by)) => {
                let mut alternatives = SubjectAlternativeName::new();
                for name in names {
                    match name.parse::<std::net::IpAddr>() {
                        Ok(_) => alternatives.ip(name),
                        Err(_) => alternatives.dns(name),
                    };
                }
                let names = alternatives.build(&builder.x509v3_context(Some(by), None)).unwrap();
                builder.append_extension(names).unwrap();
            }
        }
        builder.sign(by.map_or(&key, |(by, _)| by), MessageDigest::sha256()).unwrap();
        (key, builder.build())
    }

    /// Connects as the driver does, and says what went wrong.
    fn connect(url: &str, roots: &Path, node: &Identity) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_private_key(&node.0).unwrap();
        acceptor.set_certificate(&node.1).unwrap();
        let acceptor = acceptor.build();
        let server = std::thread::spawn(move || _ = acceptor.accept(listener.accept().unwrap().0));
        let address = Address::parse(&format!("cassandra://{url}?sslrootcert={}", roots.display())).unwrap();
        let context = connector(&address, address.trust.as_ref().unwrap()).unwrap().build().into_context();
        let mut ssl = Ssl::new(&context).unwrap();
        ssl.param_mut().set_ip(at.ip()).unwrap();
        let done = ssl.connect(TcpStream::connect(at).unwrap());
        let done = done.map(|_| ()).map_err(|error| error.to_string());
        server.join().unwrap();
        done
    }

    #[test]
    fn a_node_is_taken_for_its_address_or_a_name_of_the_url_and_for_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (certificate(&[], None), certificate(&[], None));
        let roots = folder.path().join("ca.pem");
        std::fs::write(&roots, ours.1.to_pem().unwrap()).unwrap();
        let try_names = |url: &str, names: &[&str], by: &Identity| connect(url, &roots, &certificate(names, Some(by)));
        try_names("127.0.0.1", &["127.0.0.1"], &ours).unwrap();
        try_names("10.0.0.1", &["other", "127.0.0.1"], &ours).expect("a node that was told by another one");
        try_names("a.example,b.example", &["b.example"], &ours).unwrap();
        try_names("b.db.example", &["*.db.example"], &ours).unwrap();
        for (url, names, by, words) in [
            ("127.0.0.1", &["10.0.0.1", "node"][..], &ours, "IP address mismatch"),
            ("a.example", &["b.example"], &ours, "IP address mismatch"),
            ("a.example", &["a.example"], &theirs, "certificate"),
            ("127.0.0.1", &["127.0.0.1"], &theirs, "certificate"),
        ] {
            let error = try_names(url, names, by).unwrap_err();
            assert!(error.contains(words), "{url} {names:?}: {error}");
        }
    }

    #[test]
    fn a_name_is_that_of_its_host_and_of_no_other() {
        for (name, host, expected) in [
            ("db.example.com", "db.example.com", true),
            ("DB.example.com", "db.EXAMPLE.com", true),
            ("localhost", "localhost", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.com", "example.com", false),
            ("*.", "example.", false),
            ("*", "localhost", false),
            ("d*.example.com", "db.example.com", false),
            ("example.com", "db.example.com", false),
            ("", "", false),
            ("10.0.0.1", "10.0.0.1", false),
            ("*.0.0.1", "10.0.0.1", false),
            ("[::1]", "[::1]", false),
        ] {
            assert_eq!(is_name_of(name, host), expected, "{name} of {host}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let address = Address::parse("cassandra://h").unwrap();
        let refused = |path: &PathBuf| connector(&address, &Trust::Signed(Some(path.clone()))).map(|_| ()).unwrap_err();
        assert_eq!(refused(&path).code, Code::NotFound, "there is no such file");
        for text in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            let error = refused(&path);
            assert!(error.code == Code::Field && error.to_string().contains("certificate"), "{text:?}: {error}");
        }
    }
}
