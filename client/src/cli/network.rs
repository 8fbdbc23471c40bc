//! What to do about a server that cannot be reached.

use std::error::Error;

use chancery::guard::{HttpError, TlsRefusal};

use super::Failure;

/// The variable that names a file with the authorities of TLS certificates.
const FILE: &str = "SSL_CERT_FILE";

/// A failure with what to do about it, if it comes from the network.
pub(crate) fn failure(error: impl Error + 'static) -> Failure {
    let hint = hint(&error);
    let failure = Failure::could_not_run(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What to do about the failed request that is behind an error.
pub(crate) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            let file = std::env::var_os(FILE).filter(|file| !file.is_empty());
            return tls_hint(error.tls()?, file.map(|file| file.to_string_lossy().into_owned()));
        }
        next = error.source();
    }
    None
}

fn tls_hint(refusal: TlsRefusal, file: Option<String>) -> Option<String> {
    match (refusal, file) {
        (TlsRefusal::Untrusted, None) => Some(format!(
            "this machine does not know the authority that issued the server's TLS certificate: if it is your company's, \
             ask the instance's operators for its certificate and name the PEM file in {FILE}"
        )),
        (TlsRefusal::Untrusted, Some(file)) => Some(format!(
            "the authority that issued the server's TLS certificate is not in `{file}`, which {FILE} names instead of the \
             system's authorities; add it to the file, or name the folder of the system's with SSL_CERT_DIR as well"
        )),
        (TlsRefusal::IsAuthority, _) => Some(
            "the server shows the certificate of an authority as its own: the instance's operators have to issue one for \
             the server with it"
                .to_owned(),
        ),
        (TlsRefusal::Other, _) => None,
    }
}
