//! A batch or transaction as it is sent: its entries taken apart, each request still to be understood by itself.

use crate::json::{JsonError, Kind, Limits, Token, Tokens, unescape};

/// A Bundle of requests (R4 http, 3.1.0.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests<'a> {
    /// Whether all of it succeeds or none.
    pub is_transaction: bool,
    /// The requests, in the order sent.
    pub entries: Vec<Entry<'a>>,
}

/// One request of a Bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `fullUrl`: how the other entries name what this one makes.
    pub full_url: Option<String>,
    /// The raw bytes of `resource`.
    pub resource: Option<&'a [u8]>,
    /// `request.method`.
    pub method: String,
    /// `request.url`.
    pub url: String,
    /// `request.ifNoneMatch`.
    pub if_none_match: Option<String>,
    /// `request.ifModifiedSince`.
    pub if_modified_since: Option<String>,
    /// `request.ifMatch`.
    pub if_match: Option<String>,
    /// `request.ifNoneExist`.
    pub if_none_exist: Option<String>,
}

/// Why a Bundle of requests is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    /// Not JSON, or not strictly.
    #[error("the body cannot be read: {0}")]
    Json(#[from] JsonError),
    /// Not a batch or transaction.
    #[error("{0}")]
    Structure(String),
}

fn structure<T>(what: impl Into<String>) -> Result<T, Misread> {
    Err(Misread::Structure(what.into()))
}

/// Members of a Bundle and of an entry that say nothing about what is asked.
const PASSED_OVER: [&str; 8] =
    ["id", "meta", "language", "identifier", "timestamp", "link", "signature", "search"];

impl<'a> Requests<'a> {
    /// Takes a body apart. `entries_max` bounds how many requests one may hold.
    pub fn read(text: &'a [u8], limits: Limits, entries_max: usize) -> Result<Self, Misread> {
        let mut tokens = Tokens::new(text, limits);
        let Some(Token { kind: Kind::ObjectStart, .. }) = tokens.next_token()? else {
            return structure("the body is no Bundle");
        };
        let (mut of_type, mut is_bundle, mut entries) = (None, false, Vec::new());
        while let Some(name) = member(&mut tokens)? {
            match name.as_str() {
                "resourceType" => is_bundle = string(&mut tokens, &name)? == "Bundle",
                "type" => of_type = Some(string(&mut tokens, &name)?),
                "entry" => entries = list(&mut tokens, text, entries_max)?,
                other if PASSED_OVER.contains(&other.trim_start_matches('_')) => pass_over(&mut tokens)?,
                other => return structure(format!("`{other}` is not understood in a Bundle of requests")),
            }
        }
        // Nothing may follow, and what was read must be complete.
        tokens.next_token()?;
        if !is_bundle {
            return structure("the body is no Bundle");
        }
        let is_transaction = match of_type.as_deref() {
            Some("batch") => false,
            Some("transaction") => true,
            Some(other) => return structure(format!("a Bundle of type `{other}` asks for nothing")),
            None => return structure("the Bundle has no type"),
        };
        Ok(Self { is_transaction, entries })
    }
}

/// The name of the next member of the object just being read, or `None` at its end.
fn member(tokens: &mut Tokens<'_>) -> Result<Option<String>, Misread> {
    match tokens.next_token()?.map(|t| t.kind) {
        Some(Kind::Key) => Ok(Some(tokens.key().to_owned())),
        _ => Ok(None),
    }
}

fn string(tokens: &mut Tokens<'_>, name: &str) -> Result<String, Misread> {
    match tokens.next_token()? {
        Some(token) if token.kind == Kind::String => Ok(unescape(tokens.raw(&token)).into_owned()),
        _ => structure(format!("`{name}` is no string")),
    }
}

fn pass_over(tokens: &mut Tokens<'_>) -> Result<(), Misread> {
    if let Some(first) = tokens.next_token()? {
        tokens.skip(&first)?;
    }
    Ok(())
}

fn list<'a>(tokens: &mut Tokens<'a>, text: &'a [u8], entries_max: usize) -> Result<Vec<Entry<'a>>, Misread> {
    let Some(Token { kind: Kind::ArrayStart, .. }) = tokens.next_token()? else {
        return structure("`entry` is no list");
    };
    let mut entries = Vec::new();
    loop {
        match tokens.next_token()?.map(|t| t.kind) {
            Some(Kind::ObjectStart) if entries.len() < entries_max => entries.push(entry(tokens, text)?),
            Some(Kind::ObjectStart) => return structure(format!("more than {entries_max} entries")),
            Some(Kind::ArrayEnd) => return Ok(entries),
            _ => return structure("`entry` is not a list of objects"),
        }
    }
}

fn entry<'a>(tokens: &mut Tokens<'a>, text: &'a [u8]) -> Result<Entry<'a>, Misread> {
    let mut found = Entry::default();
    let mut is_request = false;
    while let Some(name) = member(tokens)? {
        match name.as_str() {
            "fullUrl" => found.full_url = Some(string(tokens, &name)?),
            "resource" => match tokens.next_token()? {
                Some(first) if first.kind == Kind::ObjectStart => {
                    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                    let end = tokens.skip(&first)?;
                    found.resource = Some(&text[at(first.start)..at(end)]);
                }
                _ => return structure("`resource` is no object"),
            },
            "request" => {
                let Some(Token { kind: Kind::ObjectStart, .. }) = tokens.next_token()? else {
                    return structure("`request` is no object");
                };
                is_request = true;
                request(tokens, &mut found)?;
            }
            other if PASSED_OVER.contains(&other.trim_start_matches('_')) => pass_over(tokens)?,
            other => return structure(format!("`{other}` is not understood in an entry that is a request")),
        }
    }
    if !is_request || found.method.is_empty() || found.url.is_empty() {
        return structure("an entry has no `request` with `method` and `url`");
    }
    Ok(found)
}

fn request(tokens: &mut Tokens<'_>, found: &mut Entry<'_>) -> Result<(), Misread> {
    while let Some(name) = member(tokens)? {
        match name.as_str() {
            "method" => found.method = string(tokens, &name)?,
            "url" => found.url = string(tokens, &name)?,
            "ifNoneMatch" => found.if_none_match = Some(string(tokens, &name)?),
            "ifModifiedSince" => found.if_modified_since = Some(string(tokens, &name)?),
            "ifMatch" => found.if_match = Some(string(tokens, &name)?),
            "ifNoneExist" => found.if_none_exist = Some(string(tokens, &name)?),
            "id" => pass_over(tokens)?,
            other => return structure(format!("`{other}` is not understood in a request")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Requests<'_>, Misread> {
        Requests::read(text.as_bytes(), Limits::default(), 2)
    }

    #[test]
    fn a_batch_is_taken_apart_and_its_resources_stay_byte_for_byte() {
        let text = r#"{"type":"transaction","resourceType":"Bundle","meta":{"tag":[]},"entry":[
            {"resource": {"resourceType":"Patient", "x":1.50},"fullUrl":"urn:uuid:1","request":{"url":"Patient","method":"POST","ifNoneExist":"a=b"}},
            {"request":{"method":"GET","url":"Patient\/1"}}]}"#;
        let found = read(text).unwrap();
        assert!(found.is_transaction);
        let first = &found.entries[0];
        assert_eq!(first.resource, Some(&br#"{"resourceType":"Patient", "x":1.50}"#[..]));
        assert_eq!(
            (first.method.as_str(), first.if_none_exist.as_deref(), first.full_url.as_deref()),
            ("POST", Some("a=b"), Some("urn:uuid:1"))
        );
        assert_eq!((found.entries[1].url.as_str(), found.entries[1].resource), ("Patient/1", None));
    }

    #[test]
    fn what_is_no_plain_bundle_of_requests_is_refused() {
        let get = r#"{"request":{"method":"GET","url":"Patient/1"}}"#;
        let with = |entries: &str| format!(r#"{{"resourceType":"Bundle","type":"batch","entry":{entries}}}"#);
        assert_eq!(read(&with("[]")).unwrap().entries, []);
        for (text, why) in [
            (with(&format!("[{get},{get},{get}]")), "more than 2"),
            (with("[1]"), "list of objects"),
            (with("{}"), "no list"),
            (with(r#"[{"resource":{}}]"#), "no `request`"),
            (with(r#"[{"request":{"method":"GET"}}]"#), "no `request`"),
            (with(r#"[{"request":{"method":"GET","url":"x","method":"PUT"}}]"#), "twice"),
            (with(r#"[{"request":{"method":"GET","url":"x","\u006dethod":"PUT"}}]"#), "twice"),
            (with(r#"[{"request":{"method":"GET","url":"x","override":"PUT"}}]"#), "override"),
            (with(r#"[{"request":{"method":1,"url":"x"}}]"#), "no string"),
            (with(r#"[{"resource":[],"request":{"method":"GET","url":"x"}}]"#), "no object"),
            (r#"{"resourceType":"Bundle","type":"searchset"}"#.into(), "searchset"),
            (r#"{"resourceType":"Bundle"}"#.into(), "no type"),
            (r#"{"type":"batch"}"#.into(), "no Bundle"),
            (r#"{"resourceType":"Bundle","type":"batch","implicitRules":"x"}"#.into(), "implicitRules"),
            (with("[]") + "x", "after the end"),
            (with("[]").trim_end_matches('}').into(), "end"),
            ("[]".into(), "no Bundle"),
        ] {
            let fault = read(&text).unwrap_err().to_string();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }
}
