//! One search criterion: a parameter with modifier and values, a chain over a reference, or `_has`.

use std::collections::BTreeSet;

use super::index::{Index, Term, fold, target};
use super::message::Fault;
use super::parameters::{Kind, Parameter, Type, types};
use super::times::Span;

/// What a record must be.
#[derive(Debug)]
pub(super) enum Criterion {
    /// One of the values.
    Plain { parameter: &'static Parameter, modifier: Modifier, values: Vec<Value> },
    /// Refers by `parameter` to a record of `kind` that is `inner`.
    Chain { parameter: &'static Parameter, inner: Vec<(&'static Type, Criterion)> },
    /// Is referred to, by `link`, from a record of `from` that is `inner`.
    Has { from: &'static Type, link: &'static Parameter, inner: Box<Criterion> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Modifier {
    None,
    Missing,
    Exact,
    Contains,
    Not,
    Text,
    Identifier,
    /// A type, on references.
    Type(&'static str),
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Words(String),
    /// `system|code`: `None` where any system will do, `Some("")` for none.
    Token {
        system: Option<String>,
        code: String,
    },
    Moment {
        prefix: Prefix,
        span: Span,
    },
    Amount {
        prefix: Prefix,
        value: f64,
        half: f64,
        system: Option<String>,
        code: Option<String>,
    },
    Missing(bool),
}

/// FHIR R4 3.1.1.4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
}

/// How many references a criterion may follow.
const HOPS_MAX: usize = 3;

/// Finds the records that meet a criterion, as `Type/id`; the store does that.
pub(super) type Finder<'a> = dyn Fn(&'static Type, &Criterion) -> BTreeSet<String> + 'a;

impl Criterion {
    pub(super) fn parse(kind: &'static Type, name: &str, value: &str) -> Result<Criterion, Fault> {
        Self::nested(kind, name, value, 0)
    }

    fn nested(kind: &'static Type, name: &str, value: &str, depth: usize) -> Result<Criterion, Fault> {
        if depth > HOPS_MAX {
            return Err(Fault::invalid(format!("`{name}` follows more than {HOPS_MAX} references")));
        }
        if let Some(rest) = name.strip_prefix("_has:") {
            let mut parts = rest.splitn(3, ':');
            let (from, link, inner) = (parts.next(), parts.next(), parts.next());
            let form = || {
                Fault::invalid(format!("`{name}` is not of the form `_has:<type>:<reference>:<parameter>`"))
            };
            let (from, link, inner) =
                (from.ok_or_else(form)?, link.ok_or_else(form)?, inner.ok_or_else(form)?);
            let from = types()
                .get(from)
                .ok_or_else(|| Fault::invalid(format!("unknown type `{from}` in `{name}`")))?;
            let link = reference(from, link)?;
            let inner = Box::new(Self::nested(from, inner, value, depth + 1)?);
            return Ok(Criterion::Has { from, link, inner });
        }
        if let Some((head, tail)) = name.split_once('.') {
            let (code, wanted) = head.split_once(':').map_or((head, None), |(c, t)| (c, Some(t)));
            let parameter = reference(kind, code)?;
            let targets: Vec<&'static Type> = types()
                .values()
                .filter(|t| parameter.targets.is_empty() || parameter.targets.contains(&t.name))
                .filter(|t| wanted.is_none_or(|w| w == t.name))
                .collect();
            // Without a type the chain goes to every target that knows the parameter.
            let mut inner = Vec::new();
            let mut fault = None;
            for target in targets {
                match Self::nested(target, tail, value, depth + 1) {
                    Ok(criterion) => inner.push((target, criterion)),
                    Err(f) => fault = fault.or(Some(f)),
                }
            }
            return match (inner.is_empty(), fault) {
                (false, _) => Ok(Criterion::Chain { parameter, inner }),
                (true, Some(fault)) => Err(fault),
                (true, None) => {
                    Err(Fault::invalid(format!("`{head}` in `{name}` points to no type that could be")))
                }
            };
        }
        let (code, modifier) = name.split_once(':').map_or((name, None), |(c, m)| (c, Some(m)));
        let parameter = kind.parameter(code).ok_or_else(|| unknown(kind, code))?;
        let modifier = modifier_of(parameter, modifier)?;
        let values =
            split(value).iter().map(|v| read(parameter, &modifier, v)).collect::<Result<Vec<_>, _>>()?;
        Ok(Criterion::Plain { parameter, modifier, values })
    }

    /// Follows chains and `_has`, so that what is left can be asked of each record.
    pub(super) fn prepare(
        &self,
        kind: &'static Type,
        find: &Finder<'_>,
        links: &dyn Fn(&str, &str) -> Vec<String>,
    ) -> Test<'_> {
        match self {
            Criterion::Plain { parameter, modifier, values } => Test::Plain(parameter, modifier, values),
            Criterion::Chain { parameter, inner } => {
                let found = inner.iter().flat_map(|(target, criterion)| find(target, criterion)).collect();
                Test::Points(parameter, found)
            }
            Criterion::Has { from, link, inner } => {
                let prefix = format!("{}/", kind.name);
                let pointed =
                    find(from, inner).iter().flat_map(|record| links(record, link.code)).collect::<Vec<_>>();
                Test::OneOf(pointed.into_iter().filter(|t| t.starts_with(&prefix)).collect())
            }
        }
    }
}

/// A criterion whose references have been followed.
pub(super) enum Test<'c> {
    Plain(&'static Parameter, &'c Modifier, &'c [Value]),
    Points(&'static Parameter, BTreeSet<String>),
    OneOf(BTreeSet<String>),
}

impl Test<'_> {
    /// `record` is `Type/id`; `now` in milliseconds serves the prefix `ap`.
    pub(super) fn meets(&self, record: &str, index: &Index, now: i64) -> bool {
        let terms = |code: &str| index.get(code).map_or(&[][..], Vec::as_slice);
        match self {
            Test::OneOf(records) => records.contains(record),
            Test::Points(parameter, records) => terms(parameter.code).iter().any(|term| match term {
                Term::Link { kind, id, .. } => records.contains(&format!("{kind}/{id}")),
                _ => false,
            }),
            Test::Plain(parameter, Modifier::Missing, values) => values
                .iter()
                .any(|v| matches!(v, Value::Missing(m) if *m == terms(parameter.code).is_empty())),
            Test::Plain(parameter, Modifier::Not, values) => !values
                .iter()
                .any(|v| terms(parameter.code).iter().any(|t| equal(t, v, &Modifier::None, parameter, now))),
            Test::Plain(parameter, modifier, values) => values
                .iter()
                .any(|v| terms(parameter.code).iter().any(|t| equal(t, v, modifier, parameter, now))),
        }
    }
}

/// The reference parameter of that name.
pub(super) fn reference(kind: &'static Type, code: &str) -> Result<&'static Parameter, Fault> {
    let parameter = kind.parameter(code).ok_or_else(|| unknown(kind, code))?;
    if parameter.kind != Kind::Reference {
        return Err(Fault::invalid(format!("search parameter `{code}` of `{}` is no reference", kind.name)));
    }
    Ok(parameter)
}

pub(super) fn unknown(kind: &Type, code: &str) -> Fault {
    let known: Vec<&str> = kind.parameters.iter().map(|p| p.code).collect();
    Fault::invalid(format!(
        "unknown search parameter `{code}` for `{}`; known are: {}",
        kind.name,
        known.join(", ")
    ))
}

fn modifier_of(parameter: &Parameter, modifier: Option<&str>) -> Result<Modifier, Fault> {
    let Some(modifier) = modifier else { return Ok(Modifier::None) };
    let found = match (modifier, parameter.kind) {
        ("missing", _) => Some(Modifier::Missing),
        ("exact", Kind::Text) => Some(Modifier::Exact),
        ("contains", Kind::Text) => Some(Modifier::Contains),
        ("not", Kind::Token) => Some(Modifier::Not),
        ("text", Kind::Token) => Some(Modifier::Text),
        ("identifier", Kind::Reference) => Some(Modifier::Identifier),
        (name, Kind::Reference) => types().get(name).map(|t| Modifier::Type(t.name)),
        _ => None,
    };
    found.ok_or_else(|| {
        Fault::invalid(format!("modifier `:{modifier}` does not go with `{}`", parameter.code))
    })
}

/// Splits at commas that are not escaped.
fn split(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, parts.last_mut()) {
            (',', _) => parts.push(String::new()),
            ('\\', Some(last)) => {
                // Only the escape of the comma is undone here; `\|` and `\$` mean themselves further on.
                match chars.next() {
                    Some(',') => last.push(','),
                    Some(other) => last.extend(['\\', other]),
                    None => last.push('\\'),
                }
            }
            (c, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    parts
}

fn unescape(text: &str) -> String {
    text.replace("\\|", "|").replace("\\$", "$").replace("\\\\", "\\")
}

/// Splits at the first `|` that is not escaped.
fn bar(text: &str) -> Option<(&str, &str)> {
    let at = text.char_indices().find(|&(i, c)| c == '|' && !text[..i].ends_with('\\')).map(|(i, _)| i)?;
    Some((&text[..at], &text[at + 1..]))
}

fn read(parameter: &Parameter, modifier: &Modifier, text: &str) -> Result<Value, Fault> {
    let wrong = |what: &str| Fault::invalid(format!("`{text}` is not {what} for `{}`", parameter.code));
    if text.is_empty() {
        return Err(Fault::invalid(format!("`{}` has an empty value", parameter.code)));
    }
    if *modifier == Modifier::Missing {
        return match text {
            "true" => Ok(Value::Missing(true)),
            "false" => Ok(Value::Missing(false)),
            _ => Err(wrong("`true` or `false`")),
        };
    }
    Ok(match parameter.kind {
        Kind::Text | Kind::Uri => Value::Words(unescape(text)),
        Kind::Reference if *modifier != Modifier::Identifier => Value::Words(unescape(text)),
        Kind::Token if *modifier == Modifier::Text => Value::Words(fold(&unescape(text))),
        Kind::Token | Kind::Deceased | Kind::Reference => match bar(text) {
            Some((system, code)) => Value::Token { system: Some(unescape(system)), code: unescape(code) },
            None => Value::Token { system: None, code: unescape(text) },
        },
        Kind::Date => {
            let (prefix, rest) = prefix(text);
            Value::Moment { prefix, span: Span::parse(rest).ok_or_else(|| wrong("a date"))? }
        }
        Kind::Quantity => {
            let (prefix, rest) = prefix(text);
            let mut parts = rest.split('|');
            let digits = parts.next().unwrap_or_default();
            let value: f64 =
                digits.parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| wrong("a quantity"))?;
            let places = digits.split_once('.').map_or(0, |(_, f)| f.len());
            let half = 0.5 * 10_f64.powi(-i32::try_from(places).unwrap_or(0));
            let part = |p: Option<&str>| p.filter(|p| !p.is_empty()).map(unescape);
            Value::Amount { prefix, value, half, system: part(parts.next()), code: part(parts.next()) }
        }
    })
}

fn prefix(text: &str) -> (Prefix, &str) {
    const PREFIXES: [(&str, Prefix); 9] = [
        ("eq", Prefix::Eq),
        ("ne", Prefix::Ne),
        ("gt", Prefix::Gt),
        ("lt", Prefix::Lt),
        ("ge", Prefix::Ge),
        ("le", Prefix::Le),
        ("sa", Prefix::Sa),
        ("eb", Prefix::Eb),
        ("ap", Prefix::Ap),
    ];
    PREFIXES
        .iter()
        .find_map(|(word, prefix)| text.strip_prefix(word).map(|rest| (*prefix, rest)))
        .unwrap_or((Prefix::Eq, text))
}

fn equal(term: &Term, value: &Value, modifier: &Modifier, parameter: &Parameter, now: i64) -> bool {
    match (term, value) {
        (Term::Text { folded, raw }, Value::Words(words)) => match modifier {
            Modifier::Exact => raw == words,
            Modifier::Contains => folded.contains(&fold(words)),
            _ => folded.starts_with(&fold(words)),
        },
        (Term::Uri(uri), Value::Words(words)) => uri == words,
        (Term::Token { words, .. }, Value::Words(wanted)) => words.contains(wanted.as_str()),
        (Term::Token { system, code, .. }, Value::Token { system: wanted, code: wanted_code }) => {
            let system_fits = wanted.as_deref().is_none_or(|w| w == system.as_deref().unwrap_or_default());
            // `system|` asks for any code of the system; two codes of different case differ.
            let code_fits = if wanted_code.is_empty() { wanted.is_some() } else { code == wanted_code };
            system_fits && code_fits
        }
        (Term::Link { identifier, .. }, Value::Token { system, code }) => identifier
            .as_ref()
            .is_some_and(|(s, v)| v == code && system.as_deref().is_none_or(|wanted| wanted == s)),
        (Term::Link { kind, id, raw, .. }, Value::Words(words)) => {
            let type_fits = match modifier {
                Modifier::Type(wanted) => kind == wanted,
                _ => parameter.targets.is_empty() || parameter.targets.contains(&kind.as_str()),
            };
            let points = match target(words) {
                Some((wanted, wanted_id)) => kind == wanted && id == wanted_id,
                None => id == words,
            };
            (type_fits && points && !id.is_empty()) || raw == words
        }
        (Term::When(span), Value::Moment { prefix, span: wanted }) => date(*span, *prefix, *wanted, now),
        (
            Term::Amount { value, system, code, unit },
            Value::Amount { prefix, value: wanted, half, system: s, code: c },
        ) => {
            let unit_fits =
                s.as_ref().is_none_or(|s| s == system) && c.as_ref().is_none_or(|c| c == code || c == unit);
            let near = (value - wanted).abs() <= *half;
            unit_fits
                && match prefix {
                    Prefix::Eq => near,
                    Prefix::Ne => !near,
                    Prefix::Gt | Prefix::Sa => value > wanted,
                    Prefix::Lt | Prefix::Eb => value < wanted,
                    Prefix::Ge => value >= wanted,
                    Prefix::Le => value <= wanted,
                    Prefix::Ap => (value - wanted).abs() <= wanted.abs() * 0.1,
                }
        }
        _ => false,
    }
}

fn date(span: Span, prefix: Prefix, wanted: Span, now: i64) -> bool {
    let within = wanted.from <= span.from && span.to <= wanted.to;
    match prefix {
        Prefix::Eq => within,
        Prefix::Ne => !within,
        Prefix::Gt => span.to > wanted.to,
        Prefix::Lt => span.from < wanted.from,
        Prefix::Ge => within || span.to > wanted.to,
        Prefix::Le => within || span.from < wanted.from,
        Prefix::Sa => span.from >= wanted.to,
        Prefix::Eb => span.to <= wanted.from,
        Prefix::Ap => {
            let slack = now.saturating_sub(wanted.from).saturating_abs() / 10;
            span.from < wanted.to.saturating_add(slack) && wanted.from.saturating_sub(slack) < span.to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_split_at_commas_that_are_not_escaped() {
        assert_eq!(split("a,b\\,c,d"), ["a", "b,c", "d"]);
        assert_eq!(bar("a\\|b|c"), Some(("a\\|b", "c")));
    }

    #[test]
    fn what_cannot_be_asked_is_refused_and_named() {
        let patient = &types()["Patient"];
        for (name, value, word) in [
            ("shoe-size", "9", "unknown search parameter `shoe-size`"),
            ("name:below", "x", "`:below`"),
            ("birthdate", "soon", "`soon`"),
            ("name", "", "empty"),
            ("_has:Observation:code", "x", "_has:<type>"),
            ("_has:Observation:code:status", "x", "no reference"),
            ("general-practitioner.shoe", "x", "shoe"),
            ("link.link.link.link.link.name", "x", "more than 3"),
        ] {
            let fault = Criterion::parse(patient, name, value).unwrap_err();
            assert_eq!(fault.status, 400);
            assert!(fault.diagnostics.contains(word), "{name}: {}", fault.diagnostics);
        }
    }

    #[test]
    fn prefixes_compare_spans() {
        let span = |s| Span::parse(s).unwrap();
        let (may, day) = (span("2024-05"), span("2024-05-10"));
        assert!(date(day, Prefix::Eq, may, 0) && !date(may, Prefix::Eq, day, 0));
        assert!(date(span("2024-06-01"), Prefix::Gt, may, 0) && !date(day, Prefix::Gt, may, 0));
        assert!(date(day, Prefix::Ge, may, 0) && date(day, Prefix::Le, may, 0));
        assert!(date(span("2024-04-30"), Prefix::Eb, may, 0) && date(span("2024-06-01"), Prefix::Sa, may, 0));
        assert!(date(day, Prefix::Ne, span("2024-05-11"), 0));
    }
}
