//! In which form an answer is wanted: JSON or XML, by `_format` and `Accept`.

/// The forms that answers are made in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// FHIR JSON.
    #[default]
    Json,
    /// FHIR XML.
    Xml,
}

const JSON: [&str; 5] =
    ["application/fhir+json", "application/json", "json", "application/json+fhir", "text/json"];

const XML: [&str; 5] = ["application/fhir+xml", "application/xml", "xml", "application/xml+fhir", "text/xml"];

impl Format {
    /// The media type of an answer, as it stands in `Content-Type`.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/fhir+json; charset=utf-8",
            Self::Xml => "application/fhir+xml; charset=utf-8",
        }
    }

    /// The form that a media type or a value of `_format` names.
    pub fn named(text: &str) -> Option<Self> {
        let essence = essence(text);
        if JSON.contains(&essence.as_str()) {
            Some(Self::Json)
        } else if XML.contains(&essence.as_str()) {
            Some(Self::Xml)
        } else {
            None
        }
    }

    /// The form that an `Accept` header asks for (RFC 9110 section 12.5.1): of the highest weight, and among equals the
    /// one that is named before the one that only a wildcard covers, and JSON before XML. `None` where neither will do.
    pub fn accepted(accept: &str) -> Option<Self> {
        if accept.trim().is_empty() {
            return Some(Self::Json);
        }
        // Weight in thousandths, and whether the form was named.
        let mut wishes: [Option<(u16, bool)>; 2] = [None; 2];
        for range in accept.split(',') {
            let Some(weight) = weight(range) else { continue };
            let (forms, named) = match (Self::named(range), essence(range).as_str()) {
                (Some(form), _) => (&[form][..], true),
                (None, "*/*" | "application/*" | "text/*") => (&[Self::Json, Self::Xml][..], false),
                _ => continue,
            };
            for form in forms {
                let wish = &mut wishes[usize::from(*form == Self::Xml)];
                // What names a form says more than a wildcard that covers it too; of several names the best counts.
                if wish.is_none_or(|(had, was_named)| (named, weight) > (was_named, had)) {
                    *wish = Some((weight, named));
                }
            }
        }
        let [json, xml] = wishes.map(|w| w.filter(|(weight, _)| *weight > 0));
        match (json, xml) {
            (None, None) => None,
            (json, Some(xml)) if json.is_none_or(|json| xml > json) => Some(Self::Xml),
            _ => Some(Self::Json),
        }
    }
}

/// The weight of a range in thousandths; `None` where it cannot be read.
fn weight(range: &str) -> Option<u16> {
    let quality = range.split(';').skip(1).find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(quality) = quality else { return Some(1_000) };
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let well =
        matches!(whole, "0" | "1") && fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok().filter(|_| well)?;
    Some((whole.parse::<u16>().ok()? * 1_000 + thousandths).min(1_000))
}

/// A media type without parameters; a `+` that a form turned into a space is put back.
pub(crate) fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().replace(' ', "+").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::Format::{Json, Xml};
    use super::*;

    #[test]
    fn the_best_wish_is_met() {
        for (accept, wanted) in [
            ("", Some(Json)),
            ("*/*", Some(Json)),
            ("application/*", Some(Json)),
            ("text/*", Some(Json)),
            ("application/fhir+json", Some(Json)),
            ("application/fhir+xml", Some(Xml)),
            ("Application/FHIR+XML; fhirVersion=4.0", Some(Xml)),
            ("text/xml", Some(Xml)),
            ("application/xml, application/json", Some(Json)),
            ("application/xml;q=0.9, application/json;q=0.8", Some(Xml)),
            ("application/fhir+xml, */*", Some(Xml)),
            ("application/fhir+json, */*", Some(Json)),
            ("application/fhir+xml, */*;q=0.8", Some(Xml)),
            ("application/fhir+xml;q=0.5, */*;q=0.8", Some(Json)),
            ("application/fhir+xml;q=0, */*", Some(Json)),
            ("application/fhir+json;q=0, */*", Some(Xml)),
            ("text/html, application/json;q=0", None),
            ("text/html, application/json;q=0.0, application/xml;q=0.000", None),
            ("application/xml;q=1.001", Some(Xml)),
            ("application/xml;q=2", None),
            ("application/xml;q=-1", None),
            ("application/xml;q=0.0001, application/json", Some(Json)),
            ("text/html", None),
            ("application/fhir+ndjson", None),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Xml)),
        ] {
            assert_eq!(Format::accepted(accept), wanted, "{accept}");
        }
    }

    #[test]
    fn a_form_has_many_names() {
        for name in ["xml", "text/xml", "application/xml", "application/fhir xml", "APPLICATION/FHIR+XML"] {
            assert_eq!(Format::named(name), Some(Xml), "{name}");
        }
        for name in ["json", "text/json", "application/json; charset=utf-8", "application/fhir+json"] {
            assert_eq!(Format::named(name), Some(Json), "{name}");
        }
        for name in ["", "html", "ttl", "application/fhir+turtle", "xhtml"] {
            assert_eq!(Format::named(name), None, "{name}");
        }
    }
}
