//! `treatments.yaml`: the rungs of each category, most revealing first.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::category::Category;
use crate::fault::Fault;
use crate::treatment::{Coarsening, Treatment};

/// What may be done to each category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatments {
    rungs: Vec<Vec<Treatment>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    treatments: BTreeMap<String, Vec<Rung>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Rung {
    Name(String),
    Generalize(Generalize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generalize {
    generalize: String,
}

impl Treatments {
    /// Reads the file; every category must have a line, and every rung must be one that it can bear.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Fault>> {
        let file: File = serde_saphyr::from_str(yaml)
            .map_err(|e| vec![Fault::new("treatments.yaml", format!("cannot be read: {e}"))])?;
        let mut faults = Vec::new();
        if file.version != 1 {
            faults.push(
                Fault::new("treatments.yaml version", format!("`{}` is not known", file.version))
                    .help("write 1"),
            );
        }
        let mut rungs = vec![Vec::new(); Category::COUNT];
        for (name, list) in &file.treatments {
            let path = format!("treatments.yaml {name}");
            let Some(category) = Category::parse(name) else {
                faults.push(
                    Fault::new(path, "is no category")
                        .help("the categories are listed in docs/architecture.md"),
                );
                continue;
            };
            for rung in list {
                let treatment = match rung {
                    Rung::Name(n) if n == "show" => Treatment::Show,
                    Rung::Name(n) if n == "pseudonymize" => Treatment::Pseudonymize,
                    Rung::Name(n) if n == "encrypt" => Treatment::Encrypt,
                    Rung::Generalize(g) if g.generalize == "year" => Treatment::Generalize(Coarsening::Year),
                    Rung::Generalize(g) if g.generalize == "zip3" => Treatment::Generalize(Coarsening::Zip3),
                    Rung::Generalize(g) if g.generalize == "flag" => Treatment::Generalize(Coarsening::Flag),
                    Rung::Name(n) | Rung::Generalize(Generalize { generalize: n }) => {
                        let help = "known: show, {generalize: year}, {generalize: zip3}, {generalize: flag}, \
                                    pseudonymize, encrypt; leaving out needs no rung";
                        faults.push(Fault::new(&path, format!("`{n}` is no treatment")).help(help));
                        continue;
                    }
                };
                if !treatment.fits(category) {
                    let what = format!("`{}` cannot be done to this category", treatment.name());
                    faults.push(Fault::new(&path, what));
                }
                rungs[category.index()].push(treatment);
            }
            if !rungs[category.index()].windows(2).all(|pair| pair[0].rank() < pair[1].rank()) {
                let help = "order: show, generalize, pseudonymize, encrypt, each at most once";
                faults.push(Fault::new(&path, "is not in order from most to least revealing").help(help));
            }
        }
        for category in Category::ALL {
            if !file.treatments.contains_key(category.name()) {
                let help = "write `[]` for a category that is never revealed";
                faults.push(Fault::new(format!("treatments.yaml {category}"), "is missing").help(help));
            }
        }
        if faults.is_empty() { Ok(Self { rungs }) } else { Err(faults) }
    }

    /// The rungs of a category, most revealing first, `Redact` left out.
    pub fn rungs(&self, category: Category) -> &[Treatment] {
        &self.rungs[category.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped;

    #[test]
    fn the_shipped_file_is_sound() {
        let shipped = Treatments::parse(shipped::TREATMENTS).unwrap();
        assert_eq!(shipped.rungs(Category::RecordId), [Treatment::Show, Treatment::Pseudonymize]);
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let yaml = shipped::TREATMENTS
            .replace("  region: [show, encrypt]\n", "")
            .replace("unknown: [show]", "unknown: [show, pseudonymize]\n  nonsense: [show]")
            .replace("identifier: [show, pseudonymize", "identifier: [pseudonymize, show");
        let faults = Treatments::parse(&yaml).unwrap_err();
        let all = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
        for part in [
            "region: is missing",
            "unknown: `pseudonymize` cannot",
            "nonsense: is no category",
            "identifier: is not in order",
        ] {
            assert!(all.contains(part), "{part} not in {all}");
        }
        assert!(Treatments::parse("version: 1\ntreatments: {}\nextra: 1").is_err());
    }
}
