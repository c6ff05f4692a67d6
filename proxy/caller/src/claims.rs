//! A token's proved claims become a caller; a claim of an unexpected shape refuses the token, it is never ignored.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use drape_view::{Caller, Environment, Proof, Relation, StatedBy, Statement};
use serde_json::{Map, Value};

use crate::fault::TokenFault;
use crate::{scopes, token};

/// Which claim says what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClaimNames {
    pub name: String,
    pub roles: String,
    pub organization: String,
    pub departments: String,
    pub title: String,
    pub client: String,
    pub purpose_of_use: String,
    pub shift: String,
    pub relations: String,
    pub fhir_user: String,
    pub patient: String,
    pub scope: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        let s = str::to_owned;
        Self {
            name: s("name"),
            roles: s("roles"),
            organization: s("organization"),
            departments: s("departments"),
            title: s("title"),
            client: s("client_id"),
            purpose_of_use: s("purpose_of_use"),
            shift: s("shift"),
            relations: s("relations"),
            fhir_user: s("fhirUser"),
            patient: s("patient"),
            scope: s("scope"),
        }
    }
}

/// Bounds on what a token may bring.
const LIST_MAX: usize = 1_000;
const RELATIONS_MAX: usize = 10_000;

/// Builds the caller. `purposes` lists which roles each purpose of use activates; a purpose that is not listed
/// activates none. Roles that are not activated are left out of the caller altogether.
pub fn caller(
    claims: &Map<String, Value>,
    names: &ClaimNames,
    purposes: &[(String, Vec<String>)],
    token_digest: [u8; 32],
    environment: Environment,
) -> Result<Caller, TokenFault> {
    let read = Reader { claims };
    let issuer = read.text("iss")?.ok_or(TokenFault::Issuer)?;
    let subject =
        read.text("sub")?.filter(|s| !s.is_empty()).ok_or_else(|| TokenFault::Claim("sub".into()))?;
    let held = read.words(&names.roles)?;
    let purpose = read.purpose(&names.purpose_of_use)?;
    let roles = activated(&held, &purpose, purposes);
    let client = match read.text(&names.client)? {
        Some(client) => Some(client),
        None => read.text("azp")?,
    };
    Ok(Caller {
        issuer,
        subject,
        name: read.text(&names.name)?,
        roles,
        held_roles: held,
        organization: read.text(&names.organization)?,
        departments: read.words(&names.departments)?,
        title: read.text(&names.title)?,
        client,
        shift: read.shift(&names.shift)?,
        fhir_user: read.fhir_user(&names.fhir_user)?,
        patient: read.text(&names.patient)?.map(|p| bare(&p, &names.patient)).transpose()?,
        scopes: read.words_in_order(&names.scope)?.iter().flat_map(|s| scopes::parse(s)).collect(),
        relations: read.relations(&names.relations)?,
        statement: Statement { by: (!purpose.is_empty()).then_some(StatedBy::Token), emergency: None },
        purpose,
        proof: Proof {
            token_id: read.text("jti")?,
            token_digest,
            expires_at: token::instant(claims, "exp")?.ok_or(TokenFault::NoExpiry)?,
        },
        environment,
    })
}

fn activated(held: &BTreeSet<String>, purpose: &str, purposes: &[(String, Vec<String>)]) -> BTreeSet<String> {
    let activated =
        purposes.iter().find(|(p, _)| p == purpose).map(|(_, roles)| roles.as_slice()).unwrap_or_default();
    held.iter().filter(|r| activated.contains(r)).cloned().collect()
}

/// The caller acts for another purpose than the token says, in the roles which that one activates.
pub fn act_for(caller: &mut Caller, purpose: &str, by: StatedBy, purposes: &[(String, Vec<String>)]) {
    caller.roles = activated(&caller.held_roles, purpose, purposes);
    purpose.clone_into(&mut caller.purpose);
    caller.statement.by = Some(by);
}

/// The SHA-256 of the client certificate to which the token is bound (RFC 8705, `cnf`); `None` where it is bound to
/// nothing. A binding of another kind is a fault: what is not understood is not passed over.
pub fn bound_certificate(claims: &Map<String, Value>) -> Result<Option<[u8; 32]>, TokenFault> {
    let Some(cnf) = claims.get("cnf") else { return Ok(None) };
    let Some(Value::String(thumbprint)) =
        cnf.as_object().filter(|c| c.len() == 1).and_then(|c| c.get("x5t#S256"))
    else {
        return Err(TokenFault::Binding);
    };
    let bytes = URL_SAFE_NO_PAD.decode(thumbprint).map_err(|_| TokenFault::Binding)?;
    bytes.try_into().map(Some).map_err(|_| TokenFault::Binding)
}

/// `intent` of a SMART launch: what the app was opened for.
pub fn launch_intent(claims: &Map<String, Value>) -> Result<Option<String>, TokenFault> {
    Reader { claims }.text("intent")
}

struct Reader<'a> {
    claims: &'a Map<String, Value>,
}

impl Reader<'_> {
    /// A claim by its name; `a.b` reaches into an object where no claim is called so itself.
    fn get(&self, name: &str) -> Option<&Value> {
        if let Some(value) = self.claims.get(name) {
            return Some(value).filter(|v| !v.is_null());
        }
        let mut parts = name.split('.');
        let mut value = self.claims.get(parts.next()?)?;
        for part in parts {
            value = value.get(part)?;
        }
        Some(value).filter(|v| !v.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, TokenFault> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.clone())),
            Some(_) => Err(TokenFault::Claim(name.to_owned())),
        }
    }

    /// A list of strings, or one string with spaces between the words.
    fn words_in_order(&self, name: &str) -> Result<Vec<String>, TokenFault> {
        let fault = || TokenFault::Claim(name.to_owned());
        let words: Vec<String> = match self.get(name) {
            None => Vec::new(),
            Some(Value::String(s)) => s.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect(),
            Some(Value::Array(items)) => items
                .iter()
                .map(|i| i.as_str().map(str::to_owned).ok_or_else(fault))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(fault()),
        };
        if words.len() > LIST_MAX { Err(fault()) } else { Ok(words) }
    }

    fn words(&self, name: &str) -> Result<BTreeSet<String>, TokenFault> {
        Ok(self.words_in_order(name)?.into_iter().collect())
    }

    /// One purpose; of a list the only one. A coding written `system|code` gives its code.
    fn purpose(&self, name: &str) -> Result<String, TokenFault> {
        let fault = || TokenFault::Claim(name.to_owned());
        let text = match self.get(name) {
            None => return Ok(String::new()),
            Some(Value::String(s)) => s.as_str(),
            Some(Value::Array(items)) => match items.as_slice() {
                [] => return Ok(String::new()),
                [one] => one.as_str().ok_or_else(fault)?,
                _ => return Err(fault()),
            },
            Some(_) => return Err(fault()),
        };
        Ok(text.rsplit('|').next().unwrap_or(text).to_owned())
    }

    fn shift(&self, name: &str) -> Result<Option<(u16, u16)>, TokenFault> {
        let fault = || TokenFault::Claim(name.to_owned());
        let Some(value) = self.get(name) else { return Ok(None) };
        let minute = |key: &str| {
            let text = value.get(key).and_then(Value::as_str).ok_or_else(fault)?;
            let (hour, minute) = text.split_once(':').ok_or_else(fault)?;
            let hour: u16 = hour.parse().map_err(|_| fault())?;
            let minute: u16 = minute.parse().map_err(|_| fault())?;
            if hour > 23 || minute > 59 { Err(fault()) } else { Ok(hour * 60 + minute) }
        };
        Ok(Some((minute("start")?, minute("end")?)))
    }

    /// `Type/id`, whether the claim is relative or absolute.
    fn fhir_user(&self, name: &str) -> Result<Option<String>, TokenFault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let mut parts = text.rsplit('/');
        match (parts.next(), parts.next()) {
            (Some(id), Some(kind)) if is_id(id) && kind.starts_with(|c: char| c.is_ascii_uppercase()) => {
                Ok(Some(format!("{kind}/{id}")))
            }
            _ => Err(TokenFault::Claim(name.to_owned())),
        }
    }

    fn relations(&self, name: &str) -> Result<BTreeMap<String, Relation>, TokenFault> {
        let fault = || TokenFault::Claim(name.to_owned());
        let Some(value) = self.get(name) else { return Ok(BTreeMap::new()) };
        let items = value.as_array().ok_or_else(fault)?;
        if items.len() > RELATIONS_MAX {
            return Err(fault());
        }
        let mut relations: BTreeMap<String, Relation> = BTreeMap::new();
        for item in items {
            let patient = bare(item.get("patient").and_then(Value::as_str).ok_or_else(fault)?, name)?;
            let is = item.get("is").and_then(Value::as_array).ok_or_else(fault)?;
            let entry = relations.entry(patient).or_default();
            for word in is {
                entry.is.insert(word.as_str().ok_or_else(fault)?.to_owned());
            }
            if let Some(date) = item.get("birthDate") {
                let date = date.as_str().filter(|d| is_date(d)).ok_or_else(fault)?.to_owned();
                // Two different dates for one patient prove neither.
                if entry.birth_date.as_ref().is_some_and(|known| *known != date) {
                    return Err(fault());
                }
                entry.birth_date = Some(date);
            }
        }
        Ok(relations)
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// `Patient/x` or `x` → `x`.
fn bare(text: &str, claim: &str) -> Result<String, TokenFault> {
    let id = text.strip_prefix("Patient/").unwrap_or(text);
    if is_id(id) { Ok(id.to_owned()) } else { Err(TokenFault::Claim(claim.to_owned())) }
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() })
}
