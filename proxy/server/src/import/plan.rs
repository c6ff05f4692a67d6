//! What each rule wants of each element, and the most revealing treatment of each category that no rule is laxer than.

use std::collections::{BTreeMap, BTreeSet};

use drape_view::{Category, Coarsening, Treatment};

use super::Unnamed;
use super::elements::Leaf;
use super::fhirpath::Hit;
use super::rules::{Method, Parameters, Rule, RuleFile};

/// The outcome for all leaves.
#[derive(Debug)]
pub(super) struct Plan {
    /// By type and category; what is not there goes.
    pub(super) treatments: BTreeMap<(&'static str, Category), Treatment>,
    /// Elements that go although their category is shown: they count as text, which no recipient is shown.
    pub(super) moved: BTreeSet<String>,
    /// The same for parts of data types, wherever these stand.
    pub(super) parts: BTreeSet<String>,
    /// Whether listed extensions keep their categories.
    pub(super) extensions: bool,
    /// For each leaf, in their order.
    pub(super) fates: Vec<Fate>,
}

impl Plan {
    /// A leaf that would be shown more of than the rules want.
    pub(super) fn laxer<'l>(&self, leaves: &'l [Leaf]) -> Option<&'l Leaf> {
        let mut pairs = leaves.iter().zip(&self.fates);
        pairs.find(|(_, fate)| !holds(fate.is, fate.wanted)).map(|(leaf, _)| leaf)
    }
}

/// What becomes of a leaf, and why.
#[derive(Debug)]
pub(super) struct Fate {
    /// The rules that say something of it, each with what it wants: conditional ones, then the one that decides.
    pub(super) by: Vec<(usize, Treatment)>,
    pub(super) wanted: Treatment,
    pub(super) is: Treatment,
}

/// Decides.
pub(super) fn make(file: &RuleFile, leaves: &[Leaf], unnamed: Unnamed) -> Plan {
    let wishes: Vec<(Vec<(usize, Treatment)>, Treatment)> =
        leaves.iter().map(|leaf| wish(file, leaf, unnamed)).collect();
    let extensions = leaves.iter().zip(&wishes).all(|(l, (_, w))| !l.is_extension() || *w == Treatment::Show);
    let mut groups: BTreeMap<(&'static str, Category), Vec<usize>> = BTreeMap::new();
    for (place, leaf) in leaves.iter().enumerate() {
        groups.entry((leaf.resource_type, leaf.category)).or_default().push(place);
    }
    // What is hidden of a data type wherever it stands is hidden by its own line, and is in the way of nothing else.
    let parts = hidden_parts(leaves, &wishes, &groups);
    let hidden = |leaf: &Leaf| leaf.part.as_ref().is_some_and(|part| parts.contains(part));
    // What is part of a sealed element is sealed with it, whatever its own category is.
    let mut unsealed: BTreeMap<(&'static str, Category), Vec<&Leaf>> = BTreeMap::new();
    for (leaf, (_, wish)) in leaves.iter().zip(&wishes) {
        if let Some((category, _)) = leaf.whole.as_ref().filter(|_| !holds(Treatment::Encrypt, *wish)) {
            unsealed.entry((leaf.resource_type, *category)).or_default().push(leaf);
        }
    }
    let mut treatments: BTreeMap<(&'static str, Category), Treatment> = BTreeMap::new();
    for ((name, category), places) in &groups {
        // A part that is hidden has no say.
        let say = |place: &&usize| !hidden(&leaves[**place]);
        let wished: Vec<_> =
            places.iter().filter(say).map(|place| (&leaves[*place], wishes[*place].1)).collect();
        let unsealed = unsealed.get(&(*name, *category)).map(Vec::as_slice).unwrap_or_default();
        treatments.insert((name, *category), choose(*category, &wished, unsealed));
    }
    // An id that is shown would tell what a pseudonym elsewhere stands for.
    let links = [Category::RecordId, Category::PatientLink, Category::RecordLink];
    alike(&mut treatments, |c, t| links.contains(&c) && t != Treatment::Redact);
    // A category has room for one coarser form.
    for category in Category::ALL {
        alike(&mut treatments, |c, t| c == category && matches!(t, Treatment::Generalize(_)));
    }
    let mut moved = BTreeSet::new();
    let of = |name: &'static str, category| {
        treatments.get(&(name, category)).copied().unwrap_or(Treatment::Redact)
    };
    let chosen = |leaf: &Leaf| of(leaf.resource_type, leaf.category);
    let is_sealed = |leaf: &Leaf| {
        leaf.whole.as_ref().is_some_and(|(c, _)| of(leaf.resource_type, *c) == Treatment::Encrypt)
    };
    for (leaf, (_, wish)) in leaves.iter().zip(&wishes) {
        if !hidden(leaf) && !holds(effect(chosen(leaf), leaf), *wish) {
            moved.extend(leaf.movable.clone());
        }
        if is_sealed(leaf) && !holds(Treatment::Encrypt, *wish) {
            moved.insert(leaf.element().to_owned());
        }
    }
    let fates = leaves.iter().zip(wishes).map(|(leaf, (by, wanted))| {
        let is = match chosen(leaf) {
            _ if leaf.is_extension() && extensions => Treatment::Show,
            _ if leaf.is_extension() => Treatment::Redact,
            _ if leaf.movable.as_ref().is_some_and(|key| moved.contains(key)) => Treatment::Redact,
            // Sealed with the rest of its element.
            _ if is_sealed(leaf) && !moved.contains(leaf.element()) => Treatment::Encrypt,
            _ if hidden(leaf) => Treatment::Redact,
            other => effect(other, leaf),
        };
        Fate { by, wanted, is }
    });
    let fates = fates.collect();
    treatments.retain(|_, treatment| *treatment != Treatment::Redact);
    Plan { treatments, moved, parts, extensions, fates }
}

/// What the rules want of a leaf: the first that selects it always decides, and those before it that do so sometimes only
/// can make it stricter.
fn wish(file: &RuleFile, leaf: &Leaf, unnamed: Unnamed) -> (Vec<(usize, Treatment)>, Treatment) {
    let mut by = Vec::new();
    let mut wanted: Option<Treatment> = None;
    for (number, rule) in file.rules.iter().enumerate() {
        let hits = rule.selectors.iter().map(|s| s.hits(leaf.resource_type, &leaf.nodes));
        let hit = hits.fold(Hit::No, |all, hit| match (all, hit) {
            (Hit::Always, _) | (_, Hit::Always) => Hit::Always,
            (Hit::Sometimes, _) | (_, Hit::Sometimes) => Hit::Sometimes,
            _ => Hit::No,
        });
        if hit == Hit::No {
            continue;
        }
        let wants = wants(rule, &file.parameters, leaf);
        by.push((number, wants));
        let all = wanted.map_or(wants, |w| w.stricter(wants));
        if hit == Hit::Always {
            return (by, all);
        }
        wanted = Some(all);
    }
    // What gives a record its shape says nothing of anybody, and without it nothing is a record.
    let default = match unnamed {
        _ if leaf.category == Category::Structure => Treatment::Show,
        Unnamed::Keep => Treatment::Show,
        Unnamed::Redact => Treatment::Redact,
    };
    (by, wanted.map_or(default, |w| w.stricter(default)))
}

/// The nearest treatment to what a rule does to a leaf.
fn wants(rule: &Rule, parameters: &Parameters, leaf: &Leaf) -> Treatment {
    let year = Treatment::Generalize(Coarsening::Year);
    let dated = matches!(leaf.data_type(), "date" | "dateTime" | "instant");
    match rule.method {
        Method::Keep => Treatment::Show,
        Method::Redact if parameters.partial_dates && dated => year,
        Method::Redact
            if parameters.partial_zips && parameters.areas_unknown.is_empty() && is_postal_code(leaf) =>
        {
            Treatment::Generalize(Coarsening::Zip3)
        }
        Method::DateShift if dated => year,
        Method::CryptoHash | Method::Pseudonymize => Treatment::Pseudonymize,
        Method::Encrypt => Treatment::Encrypt,
        Method::Redact | Method::DateShift | Method::Substitute | Method::Perturb | Method::Generalize => {
            Treatment::Redact
        }
    }
}

/// The parts of data types that no rule shows anywhere, where they stand beside others of their category that are shown.
fn hidden_parts(
    leaves: &[Leaf],
    wishes: &[(Vec<(usize, Treatment)>, Treatment)],
    groups: &BTreeMap<(&'static str, Category), Vec<usize>>,
) -> BTreeSet<String> {
    let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, leaf) in leaves.iter().enumerate() {
        if let Some(part) = &leaf.part {
            parts.entry(part).or_default().push(place);
        }
    }
    let redacted = |place: &usize| wishes[*place].1 == Treatment::Redact;
    let beside = |place: &usize| {
        let leaf = &leaves[*place];
        !leaf.category.is_carrier()
            && groups.get(&(leaf.resource_type, leaf.category)).is_some_and(|all| !all.iter().all(redacted))
    };
    let hidden = parts.into_iter().filter(|(_, all)| all.iter().all(redacted) && all.iter().any(beside));
    hidden.map(|(part, _)| part.to_owned()).collect()
}

/// The treatment by which most elements get what the rules want of them. None gets more: what would is moved away from the
/// category, and where that cannot be, the treatment is not taken.
fn choose(category: Category, wishes: &[(&Leaf, Treatment)], unsealed: &[&Leaf]) -> Treatment {
    if category.is_carrier() || wishes.iter().all(|(_, wish)| *wish == Treatment::Redact) {
        return Treatment::Redact;
    }
    let wished = |treatment: Treatment| wishes.iter().any(|(_, wish)| *wish == treatment);
    let candidates = [
        Treatment::Show,
        Treatment::Generalize(Coarsening::Year),
        Treatment::Generalize(Coarsening::City),
        Treatment::Generalize(Coarsening::Zip3),
        Treatment::Generalize(Coarsening::Flag),
        Treatment::Pseudonymize,
        Treatment::Encrypt,
    ];
    let mut best = (0, Treatment::Redact);
    for treatment in candidates.into_iter().filter(|t| t.fits(category)) {
        // Nobody gets ciphertexts or pseudonyms for what was to be coarsened.
        if matches!(treatment, Treatment::Pseudonymize | Treatment::Encrypt) && !wished(treatment) {
            continue;
        }
        let away: BTreeSet<&str> = wishes
            .iter()
            .filter(|(leaf, wish)| !holds(effect(treatment, leaf), *wish))
            .map(|(leaf, _)| leaf.movable.as_deref().unwrap_or_default())
            .chain(unsealed.iter().filter(|_| treatment == Treatment::Encrypt).map(|leaf| leaf.element()))
            .collect();
        if away.contains("") {
            continue;
        }
        let met = |(leaf, wish): &&(&Leaf, Treatment)| {
            let gone = leaf.movable.as_deref().is_some_and(|key| away.contains(key));
            let is = if gone { Treatment::Redact } else { effect(treatment, leaf) };
            is == *wish && is != Treatment::Redact
        };
        // What is met counts twice, what only comes out in a lesser form once.
        let kept = |(leaf, wish): &&(&Leaf, Treatment)| {
            let gone = leaf.movable.as_deref().is_some_and(|key| away.contains(key));
            !gone && *wish != Treatment::Redact && effect(treatment, leaf) != Treatment::Redact
        };
        let met = wishes.iter().filter(met).count();
        let score = met + wishes.iter().filter(kept).count();
        if met > 0 && score > best.0 {
            best = (score, treatment);
        }
    }
    best.1
}

/// Whether what becomes of a leaf is no laxer than what was wanted.
fn holds(is: Treatment, wanted: Treatment) -> bool {
    is.stricter(wanted) == is
}

/// What a category's treatment does to one leaf of it.
fn effect(treatment: Treatment, leaf: &Leaf) -> Treatment {
    let name = leaf.nodes.last().map_or("", |n| n.name);
    match treatment {
        Treatment::Generalize(Coarsening::Year) if leaf.within("Age") => treatment,
        Treatment::Generalize(Coarsening::Year) => match leaf.data_type() {
            "date" | "dateTime" => treatment,
            // An instant cannot be cut short, and goes.
            "boolean" => Treatment::Show,
            _ => Treatment::Redact,
        },
        Treatment::Generalize(Coarsening::City) if ["city", "postalCode"].contains(&name) => Treatment::Show,
        Treatment::Generalize(Coarsening::Zip3) if is_postal_code(leaf) => treatment,
        Treatment::Generalize(Coarsening::Flag) => match leaf.data_type() {
            "dateTime" => treatment,
            "boolean" => Treatment::Show,
            _ => Treatment::Redact,
        },
        Treatment::Generalize(_) => Treatment::Redact,
        Treatment::Pseudonymize => match leaf.category {
            // Of an identifier only the value gets a pseudonym; ids within a record go.
            Category::Identifier
                if name == "value" || leaf.data_type() == "string" && leaf.nodes.len() == 1 =>
            {
                treatment
            }
            Category::RecordId if leaf.nodes.len() == 1 => treatment,
            Category::PatientLink | Category::RecordLink => treatment,
            _ => Treatment::Redact,
        },
        other => other,
    }
}

fn is_postal_code(leaf: &Leaf) -> bool {
    leaf.within("Address") && leaf.nodes.last().is_some_and(|n| n.name == "postalCode")
}

/// Gives all that `which` picks the strictest treatment among them.
fn alike(
    treatments: &mut BTreeMap<(&'static str, Category), Treatment>,
    which: impl Fn(Category, Treatment) -> bool,
) {
    let picked =
        |((_, category), treatment): &(&(&str, Category), &mut Treatment)| which(*category, **treatment);
    let strictest =
        treatments.iter_mut().filter(picked).map(|(_, treatment)| *treatment).reduce(Treatment::stricter);
    if let Some(strictest) = strictest {
        treatments.iter_mut().filter(picked).for_each(|(_, treatment)| *treatment = strictest);
    }
}
