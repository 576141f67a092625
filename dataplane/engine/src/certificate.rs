//! The one field of a certificate that a protocol asks for. The certificate was verified by webpki before; this only finds its way.

use wire::Cursor;
use wire::der::{OBJECT_ID, SEQUENCE, SET, element, value};

const VERSION: u8 = 0xa0;
/// UTF8String, PrintableString, IA5String: the forms whose bytes are their text.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];
/// 2.5.4.3
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// The subject's common name (RFC 5280, 4.1.2.6). None where there is none, or more than one, or one in an encoding of the last century:
/// an identity is unambiguous or it is not one.
pub(crate) fn common_name(der: &[u8]) -> Option<String> {
    let mut certificate = Cursor::new(value(&mut Cursor::new(der), SEQUENCE)?);
    let mut to_be_signed = Cursor::new(value(&mut certificate, SEQUENCE)?);
    if to_be_signed.rest().first() == Some(&VERSION) {
        element(&mut to_be_signed)?;
    }
    for _serial_algorithm_issuer_validity in 0..4 {
        element(&mut to_be_signed)?;
    }
    let mut subject = Cursor::new(value(&mut to_be_signed, SEQUENCE)?);
    let mut found = None;
    while !subject.is_done() {
        let mut names = Cursor::new(value(&mut subject, SET)?);
        while !names.is_done() {
            let mut pair = Cursor::new(value(&mut names, SEQUENCE)?);
            if value(&mut pair, OBJECT_ID)? != COMMON_NAME {
                continue;
            }
            let (tag, text) = element(&mut pair)?;
            let text = std::str::from_utf8(text).ok().filter(|text| TEXTS.contains(&tag) && !text.contains('\0'))?;
            if found.replace(text.to_owned()).is_some() {
                return None;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_found_among_others() {
        let der = certificate(&[(DnType::OrganizationName, "Shop"), (DnType::CommonName, "réports"), (DnType::CountryName, "CH")]);
        assert_eq!(common_name(&der).as_deref(), Some("réports"));
        assert_eq!(common_name(&certificate(&[(DnType::OrganizationName, "Shop")])), None);
    }

    #[test]
    fn a_cut_certificate_has_no_name() {
        let der = certificate(&[(DnType::CommonName, "reports")]);
        let whole = common_name(&der);
        for end in 0..der.len() {
            assert_eq!(common_name(&der[..end]), None);
        }
        assert_eq!(whole.as_deref(), Some("reports"));
    }
}
