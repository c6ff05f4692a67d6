//! A request as it comes off the wire: paths, parameters, media types and headers, read in one way or not at all.

use super::{Misunderstood, Parts, bad, not_offered};
use crate::media::{Format, essence};

/// Headers by which the method or the address on the wire would not be what is meant.
pub(super) fn overrides(parts: &Parts<'_>) -> Result<(), Misunderstood> {
    for name in
        ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"]
    {
        if parts.header(name).is_some() {
            return Err(not_offered(format!("the header `{name}` would change what the request is")));
        }
    }
    Ok(())
}

/// The decoded segments of a path. Anything that another reader could take for another path is refused.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Misunderstood> {
    let trimmed = path.strip_prefix('/').unwrap_or(path);
    if trimmed.is_empty() {
        return Ok(Vec::new());
    }
    trimmed
        .split('/')
        .map(|raw| {
            if raw.is_empty() {
                return Err(bad("the path has an empty segment"));
            }
            let decoded =
                decode(raw, false).ok_or_else(|| bad("the path is not valid percent-encoded UTF-8"))?;
            let ambiguous =
                decoded.contains(['/', '\\', ';', '?', '#', '%', '\0']) || decoded == "." || decoded == "..";
            if ambiguous || decoded.chars().any(char::is_control) {
                return Err(bad("the path has a segment that could be read in two ways"));
            }
            Ok(decoded)
        })
        .collect()
}

/// Name and value pairs of a query or form.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Misunderstood> {
    if query.contains(['#', ';']) {
        return Err(bad("`;` and `#` do not part parameters; write them percent-encoded"));
    }
    let mut found = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, true).ok_or_else(|| bad("a parameter is not valid percent-encoded UTF-8"))?;
        let value =
            decode(value, true).ok_or_else(|| bad("a parameter is not valid percent-encoded UTF-8"))?;
        if name.is_empty() {
            return Err(bad("a parameter has no name"));
        }
        if name.chars().chain(value.chars()).any(char::is_control) {
            return Err(bad("a parameter holds a control character"));
        }
        found.push((name, value));
        if found.len() > 200 {
            return Err(bad("more than 200 parameters"));
        }
    }
    Ok(found)
}

fn decode(text: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut raw = text.bytes();
    while let Some(byte) = raw.next() {
        match byte {
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = (digit(raw.next()?)?, digit(raw.next()?)?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if form => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Media types of a FHIR resource in a request's body.
pub(super) const FHIR_JSON: [&str; 3] =
    ["application/fhir+json", "application/json", "application/json+fhir"];

/// Reads the form that the answer is wanted in; `_format` decides before `Accept`.
pub(super) fn format(parts: &Parts<'_>, pairs: &mut Vec<(String, String)>) -> Result<Format, Misunderstood> {
    let mut formats = pairs.iter().filter(|(n, _)| n == "_format").map(|(_, v)| Format::named(v));
    let wanted = match formats.next() {
        Some(_) if formats.next().is_some() => return Err(bad("the parameter `_format` stands twice")),
        Some(named) => named,
        None => Format::accepted(parts.header("accept").unwrap_or_default()),
    };
    drop(formats);
    pairs.retain(|(name, _)| name != "_format" && name != "_pretty");
    wanted.ok_or_else(|| {
        Misunderstood::new(406, "not-supported", "only FHIR JSON and FHIR XML are offered".to_owned())
    })
}

/// Whether a Binary's content itself is asked for: `Accept` names media types, and none of them is one of FHIR's or
/// stands for any (R4 Binary, 2.4.0).
pub(super) fn wants_content(parts: &Parts<'_>, pairs: &[(String, String)]) -> bool {
    let accept = parts.header("accept").unwrap_or_default();
    let resource = |range: &str| {
        Format::named(range).is_some()
            || ["application/fhir+turtle", "*/*", "application/*", "text/*"]
                .contains(&essence(range).as_str())
    };
    !accept.trim().is_empty()
        && !accept.split(',').any(resource)
        && !pairs.iter().any(|(name, _)| name == "_format")
}

pub(super) fn media(parts: &Parts<'_>, known: &[&str]) -> Result<(), Misunderstood> {
    let sent = essence(parts.header("content-type").unwrap_or_default());
    if known.contains(&sent.as_str()) {
        return Ok(());
    }
    let what = if sent.is_empty() {
        "the Content-Type is missing".to_owned()
    } else {
        format!("`{sent}` is not read here")
    };
    Err(Misunderstood::new(415, "not-supported", what).help(&format!("send {}", known[0])))
}

/// Reads `Prefer`; tells whether an asynchronous answer is wished.
pub(super) fn prefer(parts: &Parts<'_>) -> Result<bool, Misunderstood> {
    let mut is_async = false;
    for part in
        parts.header("prefer").unwrap_or_default().split([',', ';']).map(str::trim).filter(|p| !p.is_empty())
    {
        match part {
            "return=minimal"
            | "return=representation"
            | "return=OperationOutcome"
            | "handling=strict"
            | "handling=lenient" => {}
            "respond-async" => is_async = true,
            other => return Err(bad(format!("`Prefer: {other}` is not understood"))),
        }
    }
    Ok(is_async)
}

/// Whether a text is an instant or a date as FHIR writes them, as far as its characters go.
pub(super) fn is_instant(text: &str) -> bool {
    text.len() >= 4
        && text.len() <= 40
        && text.bytes().take(4).all(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b"-:TZ.+".contains(&b))
}

pub(super) fn none(pairs: &[(String, String)]) -> Result<(), Misunderstood> {
    match pairs.first() {
        None => Ok(()),
        Some((name, _)) => Err(not_offered(format!("the parameter `{name}` is not offered here"))),
    }
}
