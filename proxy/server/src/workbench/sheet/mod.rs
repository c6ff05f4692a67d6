//! A plain sheet of who is shown what under one set of policies, for a privacy officer to read and sign. It is worked
//! out from the policies alone, so that it says the same for the same digest.

pub(crate) mod about;
mod atoms;
mod cond;
mod html;
mod markdown;
mod party;
mod policies;

use std::collections::BTreeSet;

use drape_view::{Category, Redaction};
use sha2::{Digest as _, Sha256};

use crate::parts::Loaded;
use crate::workbench::personas::{self, Personas};
use party::{Account, Party};
use policies::Sentence;

/// A sheet, ready to be written in either form.
#[derive(Clone, Debug)]
pub struct Sheet {
    source: String,
    digest: String,
    redaction: Redaction,
    accounts: Vec<Account>,
    categories: Vec<(Category, Vec<String>)>,
    labels: Vec<String>,
    labels_as_of: String,
    policies: Vec<Sentence>,
}

/// What stands on a sheet besides what the policies say.
#[derive(Clone, Debug, Default)]
pub struct Heading {
    /// When it was made, for people.
    pub made: String,
    /// Who approved already, as the log has it: for people, one each.
    pub approvals: Vec<String>,
}

/// What the sheet says at its head, so that nobody takes it for more than it is.
const READING: [&str; 5] = [
    "Nothing is shown that is not permitted here: what no policy permits is left out, and whoever no policy names is shown nothing.",
    "A condition counts as fulfilled only where what it speaks of is known. A missing age, date or relation fulfils none.",
    "Who acts in several roles at once may do whatever one of them may, and nothing that any of them may never.",
    "\u{201c}Shown, if\u{201d} in the overview means: depending on the record. The account of each caller says on what.",
    "Each access is entered in the audit log with this digest, before anything is asked of the FHIR server.",
];

/// What holds whatever the policies say.
const ALWAYS: [&str; 6] = [
    "Readable summaries, remarks, attached files and what the definitions do not know are shown only in records of which everything else is: they could repeat it.",
    "A record is withheld whole where hiding an element could reverse its meaning, or where it would not be valid without what is hidden.",
    "A withheld record answers like one that does not exist.",
    "Nobody searches by what she is not shown, except among patients to whom her relation is proved, or by pseudonym.",
    "Noisy counts go to nobody who may see the records behind them, and are charged to a budget that cannot be overspent.",
    "Binary, Bundle, Provenance and other types that can hold anything reach only callers who are shown everything of every record.",
];

/// One row of a caller's account: categories to which the same happens under the same policies.
struct Row<'a> {
    categories: Vec<Category>,
    fate: &'a party::Fate,
}

fn rows(account: &Account) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for fate in &account.fates {
        match rows.iter_mut().find(|r| r.fate.long == fate.long && r.fate.policies == fate.policies) {
            Some(row) => row.categories.push(fate.category),
            None => rows.push(Row { categories: vec![fate.category], fate }),
        }
    }
    rows
}

/// Who a caller is, in one line.
fn who(party: &Party) -> String {
    let roles: Vec<String> = party.roles.iter().cloned().collect();
    let acts = if roles.is_empty() {
        "acts in no role".into()
    } else {
        format!("acts as {}", cond::join(&roles, "and"))
    };
    let purpose = match &party.purpose {
        Some(purpose) => format!(", for {}", atoms::purpose(purpose)),
        None => String::new(),
    };
    format!("{acts}{purpose}")
}

/// A line of an account as a sentence.
fn line_words(line: &party::Line) -> String {
    let condition = line.condition.as_ref().map(|c| format!(", where {c}")).unwrap_or_default();
    format!("{}: {}{condition}", line.what, line.of)
}

impl Sheet {
    /// Of loaded policies. Callers are the set's personas, and each role of the policies that no persona has.
    pub fn of(loaded: &Loaded, personas: &Personas) -> Self {
        let set = &loaded.set;
        let mut parties = Vec::new();
        for (name, persona) in personas.iter() {
            // Only who the persona is counts here, and that does not change with the hour.
            let caller = personas::caller(&persona.claims, &personas.purposes, personas::noon(0));
            let (roles, purpose, has_organization) = match caller {
                Ok(caller) => (caller.roles, Some(caller.purpose), Some(caller.organization.is_some())),
                Err(_) => (BTreeSet::new(), None, None),
            };
            let (name, says) = (name.to_owned(), persona.says.clone());
            parties.push(Party { name, says, roles, purpose, has_organization });
        }
        let named: BTreeSet<&str> = set.told().flat_map(|policy| policy.names("Role")).collect();
        for role in named {
            if !parties.iter().any(|p| p.roles.contains(role)) {
                let says = "a role that none of the set's personas has".to_owned();
                let roles = BTreeSet::from([role.to_owned()]);
                let name = role.to_owned();
                parties.push(Party { name, says, roles, purpose: None, has_organization: None });
            }
        }
        let examples = about::examples(&loaded.catalogue);
        let mut labels = BTreeSet::new();
        for policy in set.told() {
            labels_in(policy.json(), &mut labels);
        }
        Self {
            source: loaded.source.clone(),
            digest: set.digest().to_owned(),
            redaction: loaded.redaction,
            accounts: parties.iter().map(|p| party::account(set, &loaded.treatments, p)).collect(),
            categories: Category::ALL
                .into_iter()
                .map(|c| (c, examples.get(&c).cloned().unwrap_or_default()))
                .collect(),
            labels: labels.into_iter().collect(),
            labels_as_of: loaded.labels.as_of().to_owned(),
            policies: set.told().map(policies::sentence).collect(),
        }
    }

    /// The digest of the policies that it is about.
    pub fn policy_digest(&self) -> &str {
        &self.digest
    }

    /// SHA-256 over what the sheet says, in hex: an approval names it, so that it is known what was read.
    pub fn hash(&self) -> String {
        let text = markdown::body(self);
        Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
    }

    /// As Markdown.
    pub fn markdown(&self, heading: &Heading) -> String {
        markdown::whole(self, heading)
    }

    /// As one HTML page without scripts or foreign resources.
    pub fn html(&self, heading: &Heading) -> String {
        html::whole(self, heading)
    }

    /// Policies that have no words and stand on the sheet in Cedar.
    pub fn wordless(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().filter(|p| p.words.is_none()).map(|p| p.id.as_str())
    }
}

/// Labels that conditions name: strings beside `labels`, `consentReleases` or `consentDenies`.
fn labels_in(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    const SETS: [&str; 3] = ["labels", "consentReleases", "consentDenies"];
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|v| labels_in(v, found)),
        serde_json::Value::Object(map) => {
            for op in ["contains", "containsAny", "containsAll"] {
                if let Some(body) = map.get(op)
                    && body["left"]["."]["attr"].as_str().is_some_and(|attr| SETS.contains(&attr))
                {
                    strings(&body["right"], found);
                }
            }
            map.values().for_each(|v| labels_in(v, found));
        }
        _ => {}
    }
}

fn strings(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(text) => {
            found.insert(text.clone());
        }
        serde_json::Value::Array(items) => items.iter().for_each(|v| strings(v, found)),
        serde_json::Value::Object(map) => map.values().for_each(|v| strings(v, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
