//! Logical ids and references as they stand in URLs and records.

/// What a reference names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `Type/id` or `Type/id/_history/version`, relative or under one of the given bases.
    Local {
        /// The resource type.
        resource_type: &'a str,
        /// The logical id.
        id: &'a str,
        /// The version, where it names one.
        version: Option<&'a str>,
    },
    /// `#id` within the same record; `#` alone is the container.
    Contained(&'a str),
    /// `urn:uuid:…`, `urn:oid:…`.
    Urn(&'a str),
    /// `Type?…`: a search.
    Query(&'a str),
    /// An address elsewhere, or something that is no reference at all.
    Foreign(&'a str),
}

/// FHIR allows 64; real servers go beyond, so more is accepted from them.
const ID_BYTES_MAX: usize = 256;

/// Whether `text` can be a logical id: letters, digits, `-` and `.`.
pub fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && text != "."
        && text != ".."
}

impl<'a> Reference<'a> {
    /// Reads a reference; `bases` are the base URLs, without trailing slash, that mean this server.
    pub fn parse(text: &'a str, bases: &[&str]) -> Self {
        if let Some(id) = text.strip_prefix('#') {
            return Self::Contained(id);
        }
        if text.starts_with("urn:") {
            return Self::Urn(text);
        }
        let relative = bases
            .iter()
            .filter(|b| !b.is_empty())
            .find_map(|base| text.strip_prefix(base)?.strip_prefix('/'))
            .unwrap_or(text);
        let bytes = relative.as_bytes();
        let Some(cut) = memchr::memchr3(b':', b'/', b'?', bytes) else { return Self::Foreign(text) };
        // An address: neither a type nor a search on one has a colon before them.
        if bytes[cut] == b':' {
            return Self::Foreign(text);
        }
        if memchr::memchr(b'?', bytes).is_some_and(|end| memchr::memchr(b':', &bytes[..end]).is_none()) {
            return Self::Query(text);
        }
        let (resource_type, rest) = (&relative[..cut], &relative[cut + 1..]);
        let (id, version) = match memchr::memchr(b'/', rest.as_bytes()) {
            None => (rest, None),
            Some(end) => match rest[end..].strip_prefix("/_history/") {
                Some(version) if is_id(version) => (&rest[..end], Some(version)),
                _ => return Self::Foreign(text),
            },
        };
        if is_id(id) && crate::definitions::r4().is_resource(resource_type) {
            Self::Local { resource_type, id, version }
        } else {
            Self::Foreign(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_apart() {
        let bases = ["http://up/fhir"];
        let parse = |t| Reference::parse(t, &bases);
        let local = |resource_type, id, version| Reference::Local { resource_type, id, version };
        assert_eq!(parse("Patient/1"), local("Patient", "1", None));
        assert_eq!(parse("http://up/fhir/Patient/1/_history/2"), local("Patient", "1", Some("2")));
        assert_eq!(parse("#p"), Reference::Contained("p"));
        assert_eq!(parse("urn:uuid:1"), Reference::Urn("urn:uuid:1"));
        for query in ["Patient?identifier=1", "a/b?c:d", "?", "http://up/fhir/Patient?a=http://x/y"] {
            assert!(matches!(parse(query), Reference::Query(_)), "{query}");
        }
        for foreign in [
            "http://other/fhir/Patient/1",
            "Patient",
            "Nobody/1",
            "Patient/1/2",
            "Patient/a b",
            "",
            "http://up/fhirPatient/1",
            "http://other/fhir/Patient?a=b",
            "Patient:1/2",
            "Patient/1:2?a",
            "Patient/1/_history/",
            "Patient/1/_history/2/3",
            "Patient/1/_history",
            "/Patient/1",
            "Patient/",
        ] {
            assert!(matches!(parse(foreign), Reference::Foreign(_)), "{foreign}");
        }
    }
}
