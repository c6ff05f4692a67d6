//! The part of FHIRPath that such rules use: types, names, `nodesByType`, `nodesByName`, `where`, indices, `ofType`.

use drape_fhir::definitions::{TypeKind, r4};
use drape_view::Fault;

/// What one path selects.
#[derive(Debug)]
pub(super) struct Selector {
    /// `None`: records of any type.
    root: Option<&'static str>,
    steps: Vec<Step>,
    /// Why it may select fewer nodes than its steps say, where it does.
    pub(super) narrowed: Option<String>,
}

#[derive(Debug)]
enum Step {
    /// A member, by its name or, of a choice, the name with its type.
    Name(String),
    /// The nodes so far that are of that type.
    OfType(String),
    /// Every node below of that type.
    ByType(String),
    /// Every node below of that name.
    ByName(String),
}

/// One step from a record to an element.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its name, of a choice without the type.
    pub(super) name: &'static str,
    /// Its name in JSON.
    pub(super) key: String,
    pub(super) data_type: &'static str,
}

/// Whether a path selects a node or one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    No,
    /// Under conditions that Drape cannot tell beforehand.
    Sometimes,
    Always,
}

impl Selector {
    /// Reads a path; a union is several.
    pub(super) fn parse(path: &str) -> Result<Vec<Self>, Fault> {
        let parts =
            split(path, '|').ok_or_else(|| unreadable(path, "its brackets or quotes do not match"))?;
        parts.into_iter().map(|part| Self::one(part.trim())).collect()
    }

    fn one(path: &str) -> Result<Self, Fault> {
        let parts =
            split(path, '.').ok_or_else(|| unreadable(path, "its brackets or quotes do not match"))?;
        let mut selector = Self { root: None, steps: Vec::new(), narrowed: None };
        let mut parts = parts.into_iter().map(str::trim).peekable();
        let first = parts.peek().copied().unwrap_or_default();
        let is_word = !first.is_empty() && first.bytes().all(|b| b.is_ascii_alphanumeric());
        if is_word {
            parts.next();
            selector.root = match r4().resource_type(first) {
                Some(name) => Some(name),
                None if ["Resource", "DomainResource"].contains(&first) => None,
                None => {
                    let help = match r4().kind(first) {
                        Some(_) => format!("for every {first} write `nodesByType('{first}')`"),
                        None => {
                            "begin with a resource type, `Resource`, `nodesByType(…)` or `nodesByName(…)`"
                                .into()
                        }
                    };
                    return Err(
                        unreadable(path, &format!("`{first}` is no resource type of FHIR R4")).help(help)
                    );
                }
            };
        }
        for part in parts {
            if !selector.step(path, part)? {
                // What is not understood can only select fewer of the nodes so far, or parts of them.
                if selector.steps.is_empty() && selector.root.is_none() {
                    return Err(unreadable(
                        path,
                        &format!("`{part}` is not understood, and nothing before it says where"),
                    ));
                }
                selector.narrowed = Some(format!("`{part}` is not understood"));
                break;
            }
        }
        selector.exists(path)?;
        Ok(selector)
    }

    /// One step; whether it was understood.
    fn step(&mut self, path: &str, part: &str) -> Result<bool, Fault> {
        let (part, index) = match part.strip_suffix(']').and_then(|p| p.split_once('[')) {
            Some((name, index)) => (name, Some(index)),
            None => (part, None),
        };
        if let Some(index) = index {
            self.narrowed = Some(format!("it names one of several (`[{index}]`)"));
        }
        let Some((function, argument)) = part.strip_suffix(')').and_then(|p| p.split_once('(')) else {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Ok(false);
            }
            self.steps.push(Step::Name(part.to_owned()));
            return Ok(true);
        };
        let bare = argument.trim().trim_matches(['\'', '"']);
        match function {
            "nodesByType" => {
                if r4().kind(bare).is_none() {
                    return Err(unreadable(path, &format!("`{bare}` is no type of FHIR R4")));
                }
                self.steps.push(Step::ByType(bare.to_owned()));
            }
            "nodesByName" => self.steps.push(Step::ByName(bare.to_owned())),
            "ofType" | "as" => {
                self.steps.push(Step::OfType(bare.rsplit('.').next().unwrap_or_default().to_owned()))
            }
            "where" | "first" | "last" | "single" | "tail" | "take" | "skip" => {
                self.narrowed = Some(format!("it holds only where `{part}` does"));
            }
            "extension" => {
                self.steps.push(Step::Name("extension".to_owned()));
                self.narrowed = Some(format!("it names one of several (`{part}`)"));
            }
            // Whatever is below goes the way of what is above it.
            "descendants" | "children" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A path of names alone must lead to something, or nothing would be hidden by a slip of the pen.
    fn exists(&self, path: &str) -> Result<(), Fault> {
        let mut at: Vec<&'static str> = match self.root {
            Some(root) => vec![root],
            None => r4().resource_types().collect(),
        };
        for step in &self.steps {
            match step {
                Step::Name(name) => {
                    let next = children(&at, name);
                    if next.is_empty() {
                        let what = format!("`{name}` is no element there in FHIR R4");
                        return Err(
                            unreadable(path, &what).help("check the spelling; names are case-sensitive")
                        );
                    }
                    at = next;
                }
                Step::OfType(name) => {
                    if r4().kind(name).is_none() {
                        return Err(unreadable(path, &format!("`{name}` is no type of FHIR R4")));
                    }
                    at = r4().type_names().filter(|t| t == name).collect();
                }
                Step::ByType(name) => at = r4().type_names().filter(|t| t == name).collect(),
                Step::ByName(name) => {
                    let known = r4().type_names().any(|t| has_name(t, name, 0));
                    if !known {
                        return Err(unreadable(path, &format!("no element of FHIR R4 is called `{name}`")));
                    }
                    // What stands below it is not followed.
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether an element of a record of that type, or one above it, is selected.
    pub(super) fn hits(&self, resource_type: &str, nodes: &[Node]) -> Hit {
        let rooted = self.root.is_none_or(|root| root == resource_type);
        if !rooted || !reaches(&self.steps, resource_type, nodes, 0) {
            Hit::No
        } else if self.narrowed.is_some() {
            Hit::Sometimes
        } else {
            Hit::Always
        }
    }
}

fn reaches(steps: &[Step], resource_type: &str, nodes: &[Node], at: usize) -> bool {
    let Some((step, rest)) = steps.split_first() else { return true };
    let called = |node: &Node, name: &str| node.name == name || node.key == name;
    let further = |place: usize| reaches(rest, resource_type, nodes, place);
    match step {
        Step::Name(name) => nodes.get(at).is_some_and(|node| called(node, name)) && further(at + 1),
        Step::OfType(kind) => {
            at.checked_sub(1).and_then(|i| nodes.get(i)).is_some_and(|n| n.data_type == kind) && further(at)
        }
        Step::ByType(kind) => {
            at == 0 && kind == resource_type && further(0)
                || (at..nodes.len()).any(|i| nodes[i].data_type == kind && further(i + 1))
        }
        Step::ByName(name) => (at..nodes.len()).any(|i| called(&nodes[i], name) && further(i + 1)),
    }
}

/// Where the members of that name lead, from any of the types or nested elements in `at`.
fn children(at: &[&'static str], name: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for element in at.iter().flat_map(|path| r4().elements(path)) {
        for (key, data_type) in element.json_names() {
            if element.name == name || key == name {
                found.push(r4().children_of(element, data_type));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn has_name(path: &'static str, name: &str, depth: usize) -> bool {
    depth < 8
        && r4().elements(path).iter().any(|e| {
            e.name == name
                || e.json_names().any(|(key, _)| key == name)
                || e.types().any(|t| ["BackboneElement", "Element"].contains(&t))
                    && r4().kind(e.path) != Some(TypeKind::Primitive)
                    && has_name(e.path, name, depth + 1)
        })
}

fn unreadable(path: &str, what: &str) -> Fault {
    Fault::new("", format!("the path `{path}` cannot be followed: {what}"))
}

/// The parts between separators that stand outside brackets and quotes.
fn split(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut depth, mut quote, mut from, mut parts) = (0_usize, None, 0, Vec::new());
    for (place, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth = depth.checked_sub(1)?,
            (None, _) if letter == at && depth == 0 => {
                parts.push(&text[from..place]);
                from = place + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    (depth == 0 && quote.is_none()).then_some(parts)
}
