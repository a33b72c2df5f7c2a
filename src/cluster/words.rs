//! Causes of errors in words that a user can act on.

use std::error::Error as StdError;
use std::io;

/// The cause of an error. An `io::Error` hides the error that it carries.
pub(super) fn inner<'e>(err: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    match err.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(carried) => Some(carried),
        None => err.source(),
    }
}

/// What went wrong, in one clause: the innermost cause, which the outer ones only repeat.
pub(super) fn of(err: &(dyn StdError + 'static)) -> String {
    let mut innermost = err;
    let mut kind = None;
    // A cause that has itself as its cause must not hold the program.
    for _ in 0..16 {
        if let Some(tls) = innermost.downcast_ref::<rustls::Error>() {
            return certificate(tls);
        }
        kind = innermost.downcast_ref::<io::Error>().map(io::Error::kind).or(kind);
        match inner(innermost) {
            Some(next) => innermost = next,
            None => break,
        }
    }
    let text = match kind {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => "the connection was cut".to_owned(),
        Some(io::ErrorKind::UnexpectedEof) => "the connection was cut".to_owned(),
        Some(io::ErrorKind::TimedOut) => "no answer in time".to_owned(),
        Some(io::ErrorKind::NotFound) => "no such file".to_owned(),
        _ => innermost.to_string(),
    };
    // A parser goes on with an extract of the file, in which a token may stand.
    let text = text.lines().next().unwrap_or_default().split(" --> ").next().unwrap_or_default();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.chars().take(400).collect()
}

fn certificate(err: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = err else { return format!("TLS: {err}") };
    match bad {
        Bad::UnknownIssuer => {
            "its certificate is by a CA that neither the kubeconfig names nor this system trusts (UnknownIssuer)".into()
        }
        Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".into(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "its certificate is not valid yet; check the clock".into(),
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "its certificate is for another name".into(),
        other => format!("its certificate is not acceptable: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_cause_is_told_in_plain_words() {
        let wrapped = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(of(&wrapped), "connection refused");
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed: https://docs.rs/");
        assert_eq!(of(&cut), "the connection was cut");
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(of(&io::Error::other(unknown)).contains("neither the kubeconfig names"));
    }

    #[test]
    fn an_extract_of_a_file_with_a_token_is_not_shown() {
        let parser = io::Error::other("expected a scalar --> <input>:1:13\n1 | token: secret");
        assert_eq!(of(&parser), "expected a scalar");
    }
}
