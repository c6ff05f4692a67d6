//! Every element that recipients could be shown, down to its primitive parts, with its category.

use drape_fhir::definitions::{Element, r4};
use drape_view::catalogue::{Assigned, Kind, NodeId};
use drape_view::{Catalogue, Category};

use super::fhirpath::Node;

/// The group of types that recipients of an imported set receive.
pub(super) const RECEIVED: &str = "clinical";

/// A place in a record that holds a value.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) resource_type: &'static str,
    pub(super) nodes: Vec<Node>,
    pub(super) category: Category,
    /// The line under `elements` of categories.yaml by which it can be given another category, with the element that it
    /// is part of; none where its data type decides.
    pub(super) movable: Option<String>,
    /// The element of the record whose data type it is part of, by its category and its line under `elements`: sealed,
    /// that comes out as one thing.
    pub(super) whole: Option<(Category, Option<String>)>,
    /// The line under `parts` by which all like it can, wherever their data type stands.
    pub(super) part: Option<String>,
}

impl Leaf {
    /// `Patient.contact.name.family`.
    pub(super) fn path(&self) -> String {
        self.nodes.iter().fold(self.resource_type.to_owned(), |path, node| path + "." + &node.key)
    }

    pub(super) fn data_type(&self) -> &'static str {
        self.nodes.last().map_or("", |node| node.data_type)
    }

    /// The line under `elements` of the element whose data type it is part of; empty where there is none.
    pub(super) fn element(&self) -> &str {
        self.whole.as_ref().and_then(|(_, key)| key.as_deref()).unwrap_or_default()
    }

    /// Whether it is the id of an element, not of the record.
    pub(super) fn is_inner_id(&self) -> bool {
        self.category == Category::RecordId && self.nodes.len() > 1
    }

    /// Whether it is a reference's link or display, whose category is that of what it leads to.
    pub(super) fn is_link(&self) -> bool {
        self.nodes.iter().rev().take(2).any(|node| node.data_type == "Reference")
    }

    /// Whether it is a listed extension, which stands for all of them.
    pub(super) fn is_extension(&self) -> bool {
        self.data_type() == "Extension"
    }

    /// Whether it stands in a value of that data type.
    pub(super) fn within(&self, data_type: &str) -> bool {
        self.nodes.iter().any(|node| node.data_type == data_type)
    }
}

struct Walk {
    catalogue: &'static Catalogue,
    resource_type: &'static str,
    nodes: Vec<Node>,
    above: Vec<&'static str>,
    /// The category of the element of the record in whose data type the walk is.
    whole: Option<(Category, Option<String>)>,
    leaves: Vec<Leaf>,
}

/// What an element of a data type inherits.
#[derive(Clone)]
enum Inside {
    Resource,
    DataType { category: Category, movable: Option<String> },
}

/// The leaves of every received type.
pub(super) fn leaves() -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for name in drape_policy::types_of(RECEIVED) {
        let catalogue = Catalogue::builtin();
        let Some(root) = catalogue.root(name) else { continue };
        let mut walk = Walk {
            catalogue,
            resource_type: name,
            nodes: Vec::new(),
            above: Vec::new(),
            whole: None,
            leaves: Vec::new(),
        };
        walk.object(name, root, &Inside::Resource);
        leaves.extend(walk.leaves);
    }
    leaves
}

impl Walk {
    fn object(&mut self, path: &'static str, at: NodeId, inside: &Inside) {
        // An element that can hold itself is no wider for it.
        if self.above.contains(&path) {
            return;
        }
        self.above.push(path);
        for element in r4().elements(path) {
            for (key, data_type) in element.json_names() {
                let data_type =
                    if element.content_reference.is_some() { "BackboneElement" } else { data_type };
                let name = element.path.rsplit('.').next().unwrap_or_default().trim_end_matches("[x]");
                self.nodes.push(Node { name, key, data_type });
                self.member(element, data_type, at, inside);
                self.nodes.pop();
            }
        }
        self.above.pop();
    }

    fn member(&mut self, element: &Element, data_type: &'static str, at: NodeId, inside: &Inside) {
        let key = self.nodes.last().map(|n| n.key.clone()).unwrap_or_default();
        let Some(edge) = self.catalogue.edge(at, &key) else { return };
        let below = r4().children_of(element, data_type);
        match edge.category {
            Assigned::Extension(_) if self.nodes.len() == 1 => self.leaf(Category::Unknown, None, None),
            Assigned::Extension(_) => {}
            Assigned::Reference if data_type == "Reference" => self.reference(element, edge.node),
            Assigned::Reference => {}
            Assigned::Fixed(_) if edge.kind == Kind::Resource => {}
            Assigned::Fixed(_) if edge.is_bracket() => self.object(below, edge.node, inside),
            Assigned::Fixed(category) => {
                let path = element.path.trim_end_matches("[x]");
                let line = if element.choice { format!("{path}:{data_type}") } else { path.to_owned() };
                let (movable, part) = match inside {
                    // Ids are ids wherever they stand.
                    _ if element.name == "id" => (None, None),
                    Inside::Resource => (Some(line), None),
                    Inside::DataType { category: outer, movable } => {
                        // What is wholly shape stays so in all its parts; an age and an identifier are treated as one
                        // thing, whatever their parts are.
                        let apart = !matches!(outer, Category::Structure | Category::Staff)
                            && !["Age.", "Identifier."].iter().any(|one| line.starts_with(one));
                        (movable.clone().filter(|_| *outer == category), apart.then_some(line))
                    }
                };
                if edge.kind == Kind::Primitive || self.above.contains(&below) {
                    self.leaf(category, movable, part);
                } else {
                    let outer = self.whole.clone();
                    self.whole = outer.clone().or_else(|| Some((category, movable.clone())));
                    self.object(below, edge.node, &Inside::DataType { category, movable });
                    self.whole = outer;
                }
            }
        }
    }

    /// A reference: its link by what it may lead to, its display by that too, its identifier.
    fn reference(&mut self, element: &Element, at: NodeId) {
        let mut targets: Vec<&str> = element.targets().collect();
        if targets.is_empty() {
            targets = vec!["Patient", "Practitioner", "Observation"];
        }
        self.led_to("reference", targets.iter().map(|t| Catalogue::link_category(t)).collect());
        self.led_to("display", targets.iter().map(|t| Catalogue::display_category(t)).collect());
        if let Some(edge) = self.catalogue.edge(at, "identifier") {
            let node = Node { name: "identifier", key: "identifier".to_owned(), data_type: "Identifier" };
            self.nodes.push(node);
            let inside = Inside::DataType { category: Category::Identifier, movable: None };
            self.object("Identifier", edge.node, &inside);
            self.nodes.pop();
        }
    }

    fn led_to(&mut self, name: &'static str, mut categories: Vec<Category>) {
        categories.sort_unstable();
        categories.dedup();
        self.nodes.push(Node { name, key: name.to_owned(), data_type: "string" });
        for category in categories {
            self.leaf(category, None, None);
        }
        self.nodes.pop();
    }

    fn leaf(&mut self, category: Category, movable: Option<String>, part: Option<String>) {
        let (resource_type, nodes) = (self.resource_type, self.nodes.clone());
        self.leaves.push(Leaf { resource_type, nodes, category, movable, whole: self.whole.clone(), part });
    }
}
