//! The element catalogue: a graph over the R4 definitions that tells the category of every JSON member.

mod list;
mod rules;

use std::collections::HashMap;
use std::sync::OnceLock;

use drape_fhir::definitions::{Definitions, Element, Targets, TypeKind, r4};
use drape_fhir::names::Names;

use crate::category::{Category, CategorySet};
use crate::fault::Fault;
pub use list::Row;
use rules::Rules;

/// The catalogue, compiled.
#[derive(Debug)]
pub struct Catalogue {
    nodes: Vec<Names<Edge>>,
    roots: Names<NodeId>,
    extensions: Names<Category>,
    extension_nodes: [NodeId; Category::COUNT],
    primitive: NodeId,
    definitions: Names<()>,
    contents: Vec<CategorySet>,
}

/// A place in the graph: the members that an object there may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(u32);

/// One member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Whose rules it follows.
    pub category: Assigned,
    /// The members of its value, when that is an object.
    pub node: NodeId,
    /// The shape of its value.
    pub kind: Kind,
    /// Its data type.
    pub type_name: &'static str,
    /// Whether it must stand there.
    pub mandatory: bool,
    /// Whether it is an array.
    pub list: bool,
    /// Whether its code comes from a fixed list, so that nothing else can stand in its place.
    pub required_binding: bool,
    /// Whether hiding it could reverse the record's meaning.
    pub modifier: bool,
    /// What it tells about the record.
    pub fact: Option<Fact>,
    /// The only type a reference may lead to, where the definitions leave one.
    pub target: Option<&'static str>,
    /// All the types that a reference may lead to.
    pub targets: Targets,
    /// Its path in the definitions: `Patient.contact.name`, `HumanName.family`.
    pub path: &'static str,
    /// Which rule gave it its category.
    pub why: Why,
}

/// What decides an element's category (`categories.yaml` tells the order).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its own path under `elements`.
    Element,
    /// Its own path there, with its type: `Observation.value:string`.
    ElementOfType,
    /// Its path in a data type, under `parts`.
    Part,
    /// The same with its type.
    PartOfType,
    /// Every resource has it, whatever the resource is: `meta`, `text`, `language`, `implicitRules`.
    Common,
    /// Its resource type, under `whole`.
    Whole,
    /// Its name, under `names`.
    Name,
    /// It is a code from a fixed list, or a boolean.
    Code,
    /// Its data type, under `types`.
    Type,
    /// Its resource type, under `resources`.
    Resource,
    /// The element that it is a part of.
    Inherited,
    /// It is an id.
    Id,
    /// What the reference names.
    Reference,
    /// The URL of the extension.
    Extension,
    /// It only holds others together, or is a record of its own.
    Bracket,
}

/// How a member's category is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Always this.
    Fixed(Category),
    /// By the type of the record that a Reference names.
    Reference,
    /// By the URL of the extension; parts of a known one fall back on its category.
    Extension(Option<Category>),
}

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON string, number or boolean, with a `_` sibling.
    Primitive,
    /// An object.
    Complex,
    /// A whole resource: its members are found by its own `resourceType`.
    Resource,
}

/// What a member tells about its record, for profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `Resource.id`.
    Id,
    /// `meta.versionId`.
    Version,
    /// `meta.security`.
    Security,
    /// `meta.tag`: a workflow's mark, which may name a sensitivity and is no content that could go unjudged.
    Tag,
    /// Names the patient the record is about.
    Subject,
    /// The record's own date; the lowest number wins.
    Date(u8),
    /// `Patient.birthDate`.
    BirthDate,
    /// `status`.
    Status,
    /// `category`, `Encounter.class`.
    CategoryCode,
    /// Where it was done.
    Department,
    /// Who insures.
    Insurer,
    /// Who wrote it.
    Author,
    /// `text`, notes, attachments.
    FreeText,
}

/// A document of more nodes than this would mean that the rules multiply contexts without end.
const NODES_MAX: usize = 60_000;

struct Builder<'a> {
    definitions: &'static Definitions,
    rules: &'a Rules,
    nodes: Vec<Names<Edge>>,
    made: HashMap<(&'static str, Context), NodeId>,
    faults: Vec<Fault>,
}

/// What an element inherits from where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Context {
    /// In a resource of that type, outside any data type.
    Resource(&'static str),
    /// In a data type whose element has that category.
    Within(Category),
}

impl Catalogue {
    /// The shipped catalogue, compiled once.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Catalogue> = OnceLock::new();
        BUILTIN.get_or_init(|| match Self::parse(crate::shipped::CATEGORIES, r4()) {
            Ok(catalogue) => catalogue,
            // A test holds the shipped file to its rules; an empty catalogue knows no element and shows nothing.
            Err(_) => Self {
                nodes: vec![Names::default()],
                roots: Names::default(),
                extensions: Names::default(),
                extension_nodes: [NodeId(0); Category::COUNT],
                primitive: NodeId(0),
                definitions: Names::default(),
                contents: vec![CategorySet::FULL],
            },
        })
    }

    /// Compiles `categories.yaml`. The rules must reach every element of every R4 type.
    pub fn parse(yaml: &str, definitions: &'static Definitions) -> Result<Self, Vec<Fault>> {
        let rules = Rules::parse(yaml, definitions)?;
        let mut builder = Builder {
            definitions,
            rules: &rules,
            nodes: Vec::new(),
            made: HashMap::new(),
            faults: Vec::new(),
        };
        let primitive = builder.node("Element", Context::Within(Category::Structure));
        let roots = definitions.resource_types();
        let roots = Names::new(roots.map(|name| (name.into(), builder.node(name, Context::Resource(name)))));
        let extension_nodes = Category::ALL.map(|c| builder.node("Extension", Context::Within(c)));
        if builder.nodes.len() > NODES_MAX {
            builder.faults.push(Fault::new("categories.yaml", "the rules make too many contexts"));
        }
        let Builder { nodes, mut faults, .. } = builder;
        faults.sort_by(|a, b| a.path.cmp(&b.path));
        faults.dedup();
        if !faults.is_empty() {
            return Err(faults);
        }
        let structure = rules.whole.into_iter().filter(|(_, category)| *category == Category::Structure);
        let definitions = Names::new(structure.map(|(name, _)| (name.into(), ())));
        let extensions =
            Names::new(rules.extensions.into_iter().map(|(url, category)| (url.into(), category)));
        let contents = contents(&nodes);
        Ok(Self { nodes, roots, extensions, extension_nodes, primitive, definitions, contents })
    }

    /// Whether a type is a definition (ValueSet, Questionnaire): there `structure` is the content, not only its shape.
    pub fn is_definition(&self, resource_type: &str) -> bool {
        self.definitions.get(resource_type.as_bytes()).is_some()
    }

    /// The members of a resource.
    pub fn root(&self, resource_type: &str) -> Option<NodeId> {
        self.roots.get(resource_type.as_bytes()).map(|(_, node)| *node)
    }

    /// One member of an object; a `_` sibling is asked for without its underscore.
    pub fn edge(&self, node: NodeId, key: &str) -> Option<&Edge> {
        self.named_edge(node, key.as_bytes()).map(|(_, edge)| edge)
    }

    /// The same by the key's bytes, unescaped, with the catalogue's own copy of the name.
    pub fn named_edge(&self, node: NodeId, key: &[u8]) -> Option<(&str, &Edge)> {
        self.nodes.get(node.0 as usize)?.get(key)
    }

    /// The members of the object beside a primitive value (`_birthDate`): `id` and `extension`.
    pub fn primitive_node(&self) -> NodeId {
        self.primitive
    }

    /// The category of an extension by its URL, where it is listed.
    pub fn extension(&self, url: &str) -> Option<Category> {
        self.extensions.get(url.as_bytes()).map(|(_, category)| *category)
    }

    /// The members of an extension that belongs to `category`.
    pub fn extension_node(&self, category: Category) -> NodeId {
        self.extension_nodes[category.index()]
    }

    /// The categories of what an object there can hold of its own: its members, and those of brackets in it. Ids and
    /// extensions do not count.
    pub fn contents(&self, node: NodeId) -> CategorySet {
        self.contents.get(node.0 as usize).copied().unwrap_or(CategorySet::FULL)
    }

    /// The members of an object that must stand there.
    pub fn mandatory(&self, node: NodeId) -> impl Iterator<Item = (&str, &Edge)> {
        self.members(node).filter(|(_, edge)| edge.mandatory)
    }

    /// Every member of an object.
    pub fn members(&self, node: NodeId) -> impl Iterator<Item = (&str, &Edge)> {
        self.nodes.get(node.0 as usize).into_iter().flat_map(Names::iter)
    }

    /// The category of a reference to a record of that type.
    pub fn link_category(target_type: &str) -> Category {
        match target_type {
            "Patient" | "RelatedPerson" | "Person" | "Group" => Category::PatientLink,
            "Practitioner"
            | "PractitionerRole"
            | "Organization"
            | "OrganizationAffiliation"
            | "Location"
            | "HealthcareService"
            | "Endpoint" => Category::Staff,
            _ => Category::RecordLink,
        }
    }

    /// The category of the display text of such a reference.
    pub fn display_category(target_type: &str) -> Category {
        match Self::link_category(target_type) {
            Category::PatientLink => Category::PersonName,
            Category::Staff => Category::Staff,
            _ => Category::Note,
        }
    }

    /// Every category that a search on `path` can read: the element's and all its descendants'. The path is written
    /// as in `data/search.tsv`: `Patient.name`, `Observation.value:Quantity`. A path that is not known reveals
    /// everything.
    pub fn categories_at(&self, resource_type: &str, path: &str) -> CategorySet {
        self.reached(resource_type, path, true)
    }

    /// The category of the element at `path` alone: what a search reads that compares codes, dates or quantities and
    /// never the texts inside. A bracket without content of its own stands for all its members.
    pub fn category_at(&self, resource_type: &str, path: &str) -> CategorySet {
        self.reached(resource_type, path, false)
    }

    fn reached(&self, resource_type: &str, path: &str, deep: bool) -> CategorySet {
        let mut found = CategorySet::EMPTY;
        let (path, chosen) = path.split_once(':').map_or((path, None), |(p, t)| (p, Some(t)));
        let mut nodes: Vec<NodeId> = self.root(resource_type).into_iter().collect();
        let mut steps = path.split('.').skip(1).peekable();
        if steps.peek().is_none() {
            return CategorySet::FULL;
        }
        while let Some(step) = steps.next() {
            let last = steps.peek().is_none();
            let mut next = Vec::new();
            for node in &nodes {
                for (name, edge) in self.members(*node) {
                    let fits = name == step
                        || name.strip_prefix(step).is_some_and(|rest| {
                            rest.eq_ignore_ascii_case(edge.type_name)
                                && chosen.is_none_or(|t| t == edge.type_name)
                        });
                    if !fits {
                        continue;
                    }
                    if last {
                        match edge.category {
                            Assigned::Fixed(category) if !deep && edge.type_name != "BackboneElement" => {
                                found.insert(category);
                            }
                            _ => self.collect(edge, &mut found, &mut Vec::new()),
                        }
                    }
                    next.push(edge.node);
                }
            }
            nodes = next;
        }
        if found.is_empty() { CategorySet::FULL } else { found }
    }

    fn collect(&self, edge: &Edge, found: &mut CategorySet, seen: &mut Vec<NodeId>) {
        match edge.category {
            Assigned::Fixed(category) => found.insert(category),
            Assigned::Reference => match edge.target {
                Some(target) => found.insert(Self::link_category(target)),
                None => {
                    for category in [Category::PatientLink, Category::RecordLink, Category::Staff] {
                        found.insert(category);
                    }
                }
            },
            // Search parameters of the standard read no extensions.
            Assigned::Extension(_) => return,
        }
        // References are searched by what they name; their display and identifier only by modifiers.
        if matches!(edge.category, Assigned::Reference) {
            return;
        }
        if edge.kind != Kind::Complex || seen.contains(&edge.node) {
            return;
        }
        seen.push(edge.node);
        for (name, child) in self.members(edge.node) {
            if name != "id" {
                self.collect(child, found, seen);
            }
        }
    }
}

/// What each node can hold; brackets can hold brackets of their own kind, so it is gone over until nothing is new.
fn contents(nodes: &[Names<Edge>]) -> Vec<CategorySet> {
    let own = |edge: &Edge| match edge.category {
        Assigned::Fixed(_) if edge.is_bracket() => CategorySet::EMPTY,
        Assigned::Fixed(category) => CategorySet::EMPTY.with(category),
        Assigned::Reference => match edge.target {
            Some(target) => CategorySet::EMPTY.with(Catalogue::link_category(target)),
            None => [Category::PatientLink, Category::RecordLink, Category::Staff].into_iter().collect(),
        },
        Assigned::Extension(_) => CategorySet::EMPTY,
    };
    let members = |node: &Names<Edge>| -> (CategorySet, Vec<usize>) {
        let (mut set, mut inner) = (CategorySet::EMPTY, Vec::new());
        for (name, edge) in node.iter().filter(|(name, _)| *name != "id") {
            set = if name == "contained" { set } else { set.union(own(edge)) };
            inner.extend(edge.is_bracket().then_some(edge.node.0 as usize));
        }
        (set, inner)
    };
    let (mut sets, inner): (Vec<_>, Vec<_>) = nodes.iter().map(members).unzip();
    loop {
        let mut same = true;
        for (place, inner) in inner.iter().enumerate().rev() {
            let all = inner.iter().fold(sets[place], |all, i| all.union(sets[*i]));
            same &= all == sets[place];
            sets[place] = all;
        }
        if same {
            return sets;
        }
    }
}

impl Edge {
    /// Whether it only holds other elements of the record together.
    pub fn is_bracket(&self) -> bool {
        matches!(self.type_name, "BackboneElement" | "Element")
    }
}

impl Builder<'_> {
    fn node(&mut self, path: &'static str, context: Context) -> NodeId {
        if let Some(id) = self.made.get(&(path, context)) {
            return *id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Names::default());
        self.made.insert((path, context), id);
        if self.nodes.len() > NODES_MAX {
            return id;
        }
        let elements: Vec<Element> = self.definitions.elements(path).to_vec();
        let mut members = Vec::new();
        for element in &elements {
            for (name, data_type) in element.json_names() {
                if let Some(edge) = self.edge(element, data_type, context) {
                    members.push((name.into(), edge));
                }
            }
        }
        self.nodes[id.0 as usize] = Names::new(members);
        id
    }

    fn edge(&mut self, element: &Element, data_type: &'static str, context: Context) -> Option<Edge> {
        let data_type = if element.content_reference.is_some() { "BackboneElement" } else { data_type };
        let nested = matches!(data_type, "BackboneElement" | "Element");
        let kind = match self.definitions.kind(data_type) {
            _ if data_type == "Resource" => Kind::Resource,
            Some(TypeKind::Primitive) => Kind::Primitive,
            _ => Kind::Complex,
        };
        let (category, why) = self.assign(element, data_type, nested, context)?;
        let inner = match (category, context) {
            // A nested element of a resource is only a bracket: its members are judged one by one.
            (_, Context::Resource(name)) if nested => Context::Resource(name),
            (Assigned::Fixed(c), _) => Context::Within(c),
            (Assigned::Reference, _) => Context::Within(Category::RecordLink),
            (Assigned::Extension(_), _) => Context::Within(Category::Unknown),
        };
        let node = match kind {
            Kind::Primitive | Kind::Resource => self.node("Element", Context::Within(Category::Structure)),
            Kind::Complex => {
                let children = self.definitions.children_of(element, data_type);
                self.node(children, inner)
            }
        };
        let mut targets = element.targets();
        let only = targets.next().filter(|_| targets.next().is_none());
        Some(Edge {
            category,
            node,
            kind,
            type_name: data_type,
            mandatory: element.min > 0,
            list: element.list,
            required_binding: element.required_binding && data_type == "code",
            // Inside a data type a modifier (`HumanName.use`) goes with the element that it modifies.
            modifier: element.modifier
                && (matches!(context, Context::Resource(_)) || element.name == "modifierExtension"),
            fact: fact(element, context),
            target: only,
            targets: element.targets,
            path: element.path,
            why,
        })
    }

    fn assign(
        &mut self,
        element: &Element,
        data_type: &'static str,
        nested: bool,
        context: Context,
    ) -> Option<(Assigned, Why)> {
        if data_type == "Extension" {
            let assigned = Assigned::Extension(match context {
                Context::Within(c) if element.path.starts_with("Extension.") => Some(c),
                _ => None,
            });
            return Some((assigned, Why::Extension));
        }
        // The ids of elements too: servers number names, addresses and codings with ids of their own, which lead to
        // the record as surely as its own id does. A data type whose ids are names by definition is listed.
        if element.path.ends_with(".id") {
            let listed = match context {
                Context::Within(_) => self.rules.part(element, data_type),
                Context::Resource(_) => None,
            };
            let (category, why) = listed.unwrap_or((Category::RecordId, Why::Id));
            return Some((Assigned::Fixed(category), why));
        }
        let reference = Some((Assigned::Reference, Why::Reference));
        let (category, why) = match context {
            Context::Within(inherited) => {
                // What is wholly staff or wholly structure stays so in all its parts.
                let uniform = matches!(inherited, Category::Staff | Category::Structure);
                match self.rules.part(element, data_type) {
                    Some(part) if !uniform => part,
                    _ if data_type == "Reference" => return reference,
                    _ if element.path.starts_with("Reference.") && element.path != "Reference.identifier" => {
                        return reference;
                    }
                    _ => (inherited, Why::Inherited),
                }
            }
            Context::Resource(resource) => {
                if data_type == "Reference" {
                    return reference;
                }
                match self.rules.element(element, data_type, resource) {
                    Some(found) => found,
                    None if nested || data_type == "Resource" => (Category::Structure, Why::Bracket),
                    None => {
                        let what = format!("no rule reaches this element ({data_type})");
                        let help = "add a line under `elements`, `names`, `types` or `resources`";
                        self.faults
                            .push(Fault::new(format!("categories.yaml {}", element.path), what).help(help));
                        return None;
                    }
                }
            }
        };
        Some((Assigned::Fixed(category), why))
    }
}

/// Dates a record can have of its own, in the order in which they count.
const DATES: [&str; 18] = [
    "effective",
    "performed",
    "occurrence",
    "onset",
    "period",
    "billablePeriod",
    "start",
    "started",
    "whenHandedOver",
    "whenPrepared",
    "recordedDate",
    "authoredOn",
    "date",
    "sent",
    "issued",
    "created",
    "recorded",
    "authored",
];

fn fact(element: &Element, context: Context) -> Option<Fact> {
    match element.path {
        "Meta.versionId" => return Some(Fact::Version),
        "Meta.security" => return Some(Fact::Security),
        "Meta.tag" => return Some(Fact::Tag),
        "Patient.birthDate" => return Some(Fact::BirthDate),
        "Patient.id" => return Some(Fact::Id),
        "Encounter.class" => return Some(Fact::CategoryCode),
        "Encounter.serviceProvider" | "Encounter.location.location" => return Some(Fact::Department),
        "Coverage.payor" | "Claim.insurer" | "ExplanationOfBenefit.insurer" => return Some(Fact::Insurer),
        _ => {}
    }
    let Context::Resource(resource) = context else { return None };
    if drape_fhir::search::subject_paths(resource)
        .any(|p| p.split(':').next() == Some(element.path.trim_end_matches("[x]")))
    {
        return Some(Fact::Subject);
    }
    let top = element
        .path
        .strip_prefix(resource)
        .and_then(|rest| rest.strip_prefix('.'))
        .filter(|r| !r.contains('.'))?;
    match top.trim_end_matches("[x]") {
        "id" => Some(Fact::Id),
        "status" => Some(Fact::Status),
        "category" => Some(Fact::CategoryCode),
        "author" | "recorder" | "asserter" => Some(Fact::Author),
        "text" => Some(Fact::FreeText),
        name => {
            let place = DATES.iter().position(|d| *d == name)?;
            u8::try_from(place).ok().map(Fact::Date)
        }
    }
}

#[cfg(test)]
mod tests;
