//! The search oracle: who may not see an element learns nothing of it by asking, whatever the parameter, prefix, modifier,
//! chain, composite, order or include; and who may see it gets through. Over HTTP, before an upstream that remembers what
//! it was asked.
//!
//! For each category in turn there is a house whose policies hide it from everybody in every record and show all else. A
//! question that reads it must be refused by name, and nothing of it may reach the upstream.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "how much was looked at belongs to the result")]

mod common;
mod scripted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use common::*;
use drape_demo::Persona;
use drape_fhir::definitions::r4;
use drape_fhir::search::{Kind, Parameter, parameters};
use drape_view::view::is_open;
use drape_view::{Catalogue, Category};
use http::Method;
use scripted::{Script, Scripted};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// The houses serve all the tests of this file, one for each category.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Statics are never dropped: what the last run left is cleared away now.
    let _ = std::fs::remove_dir_all(folder());
    std::fs::create_dir_all(folder()).unwrap();
    Runtime::new().unwrap()
});

static HOUSES: Mutex<BTreeMap<Option<Category>, Arc<Mutex<Oracle>>>> = Mutex::const_new(BTreeMap::new());

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle")
}

fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

/// The house that hides this, made when it is first asked for.
async fn hiding(category: Option<Category>) -> Arc<Mutex<Oracle>> {
    if let Some(found) = HOUSES.lock().await.get(&category) {
        return Arc::clone(found);
    }
    let made = Arc::new(Mutex::new(Oracle::hiding(category).await));
    Arc::clone(HOUSES.lock().await.entry(category).or_insert(made))
}

const EMPTY: &str = r#"{"resourceType":"Bundle","type":"searchset","entry":[]}"#;

/// A house that hides one category, or none, and what stands behind it.
struct Oracle {
    house: House,
    shelf: Scripted,
    client: Client,
    token: String,
}

impl Oracle {
    async fn hiding(category: Option<Category>) -> Self {
        let shelf = Scripted::open(|_| Script::ok(EMPTY)).await;
        let unless =
            category.map(|c| format!(" unless {{ resource == Category::\"{c}\" }}")).unwrap_or_default();
        let policy = format!(
            "@id(\"ask\") permit(principal in Role::\"clinician\", action in Action::\"access\", resource);
             @id(\"by\") permit(principal in Role::\"clinician\", action == Action::\"searchBy\", resource);
             @id(\"receive\") permit(principal in Role::\"clinician\", action == Action::\"receive\", resource);
             @id(\"show\") permit(principal in Role::\"clinician\", action == Action::\"show\", resource){unless};"
        );
        let house = House::with(Wishes {
            upstream: Some(shelf.base.clone()),
            policy: Some(&policy),
            ..Wishes::default()
        })
        .await;
        let token = house.token(Persona::Doctor);
        Self { house, shelf, client: client(), token }
    }

    async fn ask(&self, question: &str) -> (Reply, Vec<scripted::Heard>) {
        let reply = ask_with(
            &self.client,
            Method::GET,
            &format!("{}/{question}", self.house.base),
            Some(&self.token),
            &[],
            "",
        )
        .await;
        (reply, self.shelf.heard())
    }

    /// Refused by name, as a form too, and the upstream hears nothing.
    async fn refuses(&self, question: &str) {
        let (reply, heard) = self.ask(question).await;
        assert_eq!(reply.status, 403, "{question}: {}", reply.text);
        assert!(heard.is_empty(), "{question} reached the upstream: {heard:?}");
        let said = reply.json()["issue"][0]["diagnostics"].to_string();
        let name = question.split(['?', '=', ':']).nth(1).unwrap();
        // Or it says that the type is not open at all, or only among patients who are proved.
        let otherwise = ["shown everything", "relation to you is proved"];
        let named = said.contains(name) || otherwise.iter().any(|o| said.contains(o));
        assert!(named, "{question} is refused without a name: {said}");
    }

    /// Lets it through, as it was asked.
    async fn passes(&self, question: &str) {
        let (reply, heard) = self.ask(question).await;
        assert_eq!(reply.status, 200, "{question}: {}", reply.text);
        let [heard] = heard.as_slice() else { panic!("{question}: {heard:?}") };
        let plain: Vec<u8> = percent_encoding::percent_decode_str(&heard.target).collect();
        assert_eq!(String::from_utf8(plain).unwrap(), format!("/{question}"));
    }
}

/// All R4 parameters in a fixed order.
fn all() -> Vec<&'static Parameter> {
    let mut all: Vec<_> = parameters().filter(|p| r4().is_resource(p.base)).collect();
    all.sort_by_key(|p| (p.base, p.code));
    all
}

fn value(p: &Parameter) -> String {
    match p.kind {
        Kind::Number | Kind::Quantity => "5".into(),
        Kind::Date => "2020-01-02".into(),
        Kind::Reference => format!("{}/x7", p.targets().next().unwrap_or("Patient")),
        Kind::Uri => "http://uri.example/x7".into(),
        Kind::Composite => {
            let part = |code: &str| {
                let part = parameters().find(|q| q.base == p.base && q.code == code);
                part.map_or("x7".to_owned(), value)
            };
            p.components().map(part).collect::<Vec<_>>().join("$")
        }
        Kind::String | Kind::Token | Kind::Special => "x7".into(),
    }
}

/// What a question does with a parameter; names the vector of the leak catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Plain,
    Prefix,
    Modifier,
    Missing,
    Chain,
    Has,
    Sort,
    Include,
    RevInclude,
}

/// The questions that use a parameter in that way, each with the categories that it reads.
fn questions(p: &'static Parameter, way: Way, catalogue: &Catalogue) -> Vec<(String, BTreeSet<Category>)> {
    let value = value(p);
    let own: BTreeSet<Category> =
        p.paths().flat_map(|path| catalogue.category_at(p.base, path).iter().collect::<Vec<_>>()).collect();
    let deep: BTreeSet<Category> =
        p.paths().flat_map(|path| catalogue.categories_at(p.base, path).iter().collect::<Vec<_>>()).collect();
    let links = |targets: &mut dyn Iterator<Item = &'static str>| {
        targets.map(Catalogue::link_category).collect::<BTreeSet<_>>()
    };
    let compared = match p.kind {
        Kind::String | Kind::Special => deep.clone(),
        Kind::Reference if p.targets().next().is_some() => links(&mut p.targets()),
        _ => own.clone(),
    };
    let (base, code) = (p.base, p.code);
    match way {
        Way::Plain => vec![(format!("{base}?{code}={value}"), compared)],
        Way::Prefix if matches!(p.kind, Kind::Date | Kind::Number | Kind::Quantity) => {
            let all = ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];
            all.iter().map(|prefix| (format!("{base}?{code}={prefix}{value}"), compared.clone())).collect()
        }
        Way::Modifier => {
            let modifiers: &[&str] = match p.kind {
                Kind::String => &["exact", "contains"],
                Kind::Token => &["not", "text", "of-type", "below", "above"],
                Kind::Uri => &["below", "above"],
                Kind::Reference => &["identifier"],
                _ => &[],
            };
            let reads = |modifier: &str| match modifier {
                "text" | "of-type" => deep.clone(),
                "identifier" => own.iter().copied().chain([Category::Identifier]).collect(),
                _ => compared.clone(),
            };
            let mut all: Vec<_> =
                modifiers.iter().map(|m| (format!("{base}?{code}:{m}={value}"), reads(m))).collect();
            if p.kind == Kind::Reference {
                all.extend(p.targets().take(2).map(|t| {
                    (format!("{base}?{code}:{t}={t}/x7"), BTreeSet::from([Catalogue::link_category(t)]))
                }));
            }
            all
        }
        Way::Missing => vec![
            (format!("{base}?{code}:missing=true"), compared.clone()),
            (format!("{base}?{code}:missing=false"), compared),
        ],
        Way::Chain => {
            // The first parameter of another open type that leads here.
            let leads = |q: &&&Parameter| {
                q.kind == Kind::Reference
                    && q.is_resolvable()
                    && is_open(q.base)
                    && q.targets().any(|t| t == base)
            };
            let all = all();
            let found =
                all.iter().find(leads).map(|q| (format!("{}?{}:{base}.{code}={value}", q.base, q.code), own));
            found.into_iter().collect()
        }
        Way::Has => {
            let link = all().into_iter().find(|q| {
                q.base == base && q.kind == Kind::Reference && q.is_resolvable() && q.targets().any(is_open)
            });
            let from = link.and_then(|q| Some((q, q.targets().find(|t| is_open(t))?)));
            from.map(|(q, target)| (format!("{target}?_has:{base}:{}:{code}={value}", q.code), own))
                .into_iter()
                .collect()
        }
        Way::Sort => {
            vec![(format!("{base}?_sort={code}"), deep.clone()), (format!("{base}?_sort=-{code}"), deep)]
        }
        Way::Include if p.kind == Kind::Reference => p
            .targets()
            .find(|t| is_open(t))
            .map(|t| (format!("{base}?_include={base}:{code}:{t}"), own))
            .into_iter()
            .collect(),
        Way::RevInclude if p.kind == Kind::Reference && is_open(base) => p
            .targets()
            .find(|t| is_open(t))
            .map(|t| (format!("{t}?_revinclude={base}:{code}"), own))
            .into_iter()
            .collect(),
        _ => vec![],
    }
}

/// Asks everything that `ways` make of the parameters of `kinds`: of those who may see it, and, for each category that it
/// reads, of those who may not. Of the many ways to ask the same, every so many-th is asked; `DRAPE_BENCH=full` asks all.
async fn hold(ways: &[Way], kinds: impl Fn(&Parameter) -> bool, every: usize) {
    let catalogue = Catalogue::builtin();
    let every = if std::env::var("DRAPE_BENCH").is_ok_and(|v| v == "full") { 1 } else { every };
    let mut by_category: BTreeMap<Category, Vec<String>> = BTreeMap::new();
    let mut number = 0;
    let sighted = hiding(None).await;
    let (mut passed, mut refused) = (0, 0);
    for p in all().into_iter().filter(|p| p.is_resolvable() && kinds(p)) {
        for way in ways {
            for (question, reads) in questions(p, *way, catalogue) {
                assert!(!reads.is_empty(), "{question} reads nothing");
                number += 1;
                if number % every != 0 {
                    continue;
                }
                sighted.lock().await.passes(&question).await;
                passed += 1;
                for category in reads {
                    by_category.entry(category).or_default().push(question.clone());
                }
            }
        }
    }
    for (category, questions) in by_category {
        let blind = hiding(Some(category)).await;
        for question in questions {
            blind.lock().await.refuses(&question).await;
            refused += 1;
        }
    }
    println!(
        "{ways:?}: {number} questions, {passed} passed for those who see, {refused} refused for those who do not"
    );
    assert!(passed > 0 && refused >= passed, "{passed} {refused}");
}

#[test]
fn lv_11_no_parameter_finds_by_what_is_hidden() {
    run(async {
        hold(&[Way::Plain], |_| true, 5).await;
    });
}

#[test]
fn lv_12_no_prefix_narrows_down_what_is_hidden() {
    run(async {
        hold(&[Way::Prefix], |_| true, 11).await;
    });
}

#[test]
fn lv_13_no_string_is_guessed_letter_by_letter() {
    run(async {
        hold(&[Way::Plain, Way::Modifier], |p| p.kind == Kind::String, 3).await;
    });
}

#[test]
fn lv_14_neither_presence_nor_complement_tells_of_what_is_hidden() {
    run(async {
        hold(&[Way::Missing], |_| true, 23).await;
        hold(&[Way::Modifier], |p| p.kind == Kind::Token && p.base == "Patient", 1).await;
    });
}

#[test]
fn lv_15_no_modifier_reads_what_is_hidden_and_unknown_ones_are_refused() {
    run(async {
        hold(&[Way::Modifier], |p| p.kind != Kind::String, 23).await;
        let sighted = hiding(None).await;
        for question in
            ["Patient?name:phonetic=x", "Condition?code:in=http://v", "Condition?code:not-in=http://v"]
        {
            sighted.lock().await.refuses(question).await;
        }
    });
}

#[test]
fn lv_16_no_chain_ends_in_what_is_hidden() {
    run(async {
        hold(&[Way::Chain], |_| true, 11).await;
        // Nor does one lead over it.
        let blind = hiding(Some(Category::PatientLink)).await;
        blind.lock().await.refuses("Observation?subject:Patient.birthdate=2020-01-02").await;
        blind.lock().await.refuses("Observation?encounter.subject:Patient.gender=male").await;
    });
}

#[test]
fn lv_17_no_reverse_chain_ends_in_what_is_hidden() {
    run(async {
        hold(&[Way::Has], |_| true, 11).await;
        let blind = hiding(Some(Category::PatientLink)).await;
        blind.lock().await.refuses("Patient?_has:Condition:patient:clinical-status=active").await;
        let blind = hiding(Some(Category::Diagnosis)).await;
        blind.lock().await.refuses("Patient?_has:Encounter:patient:_has:Condition:encounter:code=x").await;
    });
}

#[test]
fn lv_18_expressions_named_queries_and_lists_are_refused_to_everybody() {
    run(async {
        let sighted = hiding(None).await;
        for question in
            ["Patient?_filter=name eq x", "Patient?_query=x", "Patient?_list=42", "Patient?_list=$current"]
        {
            let question = question.replace(' ', "%20");
            let (reply, heard) = sighted.lock().await.ask(&question).await;
            assert!([400, 403].contains(&reply.status.as_u16()), "{question}: {}", reply.text);
            assert!(heard.is_empty(), "{question}: {heard:?}");
            assert!(
                reply.text.contains(question.split(['?', '=']).nth(1).unwrap()),
                "{question}: {}",
                reply.text
            );
        }
    });
}

#[test]
fn lv_19_a_parameter_that_reads_anything_is_refused_to_everybody() {
    run(async {
        let sighted = hiding(None).await;
        let mut refused = 0;
        for p in all().into_iter().filter(|p| !p.is_resolvable()) {
            for question in
                [format!("{}?{}=x7", p.base, p.code), format!("{}?{}:missing=true", p.base, p.code)]
            {
                sighted.lock().await.refuses(&question).await;
                refused += 1;
            }
        }
        assert!(refused > 600, "{refused}");
    });
}

#[test]
fn lv_20_no_composite_has_a_hidden_part() {
    run(async {
        hold(&[Way::Plain, Way::Missing], |p| p.kind == Kind::Composite, 1).await;
    });
}

#[test]
fn lv_21_nothing_is_ordered_by_what_is_hidden() {
    run(async {
        hold(&[Way::Sort], |_| true, 23).await;
    });
}

#[test]
fn lv_22_nothing_is_included_over_a_hidden_link() {
    run(async {
        hold(&[Way::Include, Way::RevInclude], |_| true, 5).await;
    });
}
