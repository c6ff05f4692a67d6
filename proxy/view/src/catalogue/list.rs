//! The catalogue as a list: each element of a type, the category it belongs to, and the rule that says so.

use super::{Assigned, Catalogue, Edge, NodeId, Why};
use crate::category::CategorySet;

/// One element.
#[derive(Clone, Debug)]
pub struct Row {
    /// As records name it: `Patient.deceasedBoolean`.
    pub path: String,
    /// Its data type.
    pub type_name: &'static str,
    /// Its category; several for a reference that may lead to records of several kinds, none for an extension and for
    /// what only holds others together.
    pub categories: CategorySet,
    /// What decided.
    pub why: Why,
    /// The line of `categories.yaml` that decided, or the rule that is no line.
    pub rule: String,
    /// Whether a record without it, or with another value of it, means something else.
    pub modifier: bool,
    /// Whether it must stand there.
    pub mandatory: bool,
}

/// Nested parts of data types are followed so far.
const DEPTH_MAX: usize = 6;

impl Catalogue {
    /// The elements of a resource type (`Patient`), or those below one of its elements (`Patient.contact`), that one
    /// first. Of data types only the parts are listed whose category is another one, but for those of the element that is
    /// asked for. `None` where the path leads nowhere.
    pub fn rows(&self, path: &str) -> Option<Vec<Row>> {
        let mut parts = path.split('.');
        let resource = parts.next()?;
        let mut node = self.root(resource)?;
        let mut rows = Vec::new();
        let mut at: Option<&Edge> = None;
        for part in parts {
            let edge = self.edge(node, part)?;
            at = Some(edge);
            node = edge.node;
        }
        if let Some(edge) = at {
            rows.push(self.row(resource, path, edge));
        }
        let whole = at.is_some_and(|edge| !edge.is_bracket());
        self.below(resource, path, node, at, whole, &mut vec![node], &mut rows);
        Some(rows)
    }

    /// The names of the elements just below a path, for those who have misspelt the next one.
    pub fn members_of(&self, path: &str) -> Vec<&str> {
        let mut parts = path.split('.');
        let node = parts.next().and_then(|resource| self.root(resource));
        let node = parts.try_fold(node, |node, part| node.map(|n| self.edge(n, part).map(|e| e.node)));
        node.flatten().map(|n| self.members(n).map(|(name, _)| name).collect()).unwrap_or_default()
    }

    #[allow(clippy::too_many_arguments, reason = "one walk, not worth a struct")]
    fn below(
        &self,
        resource: &str,
        path: &str,
        node: NodeId,
        parent: Option<&Edge>,
        whole: bool,
        seen: &mut Vec<NodeId>,
        rows: &mut Vec<Row>,
    ) {
        for (name, edge) in self.members(node) {
            let path = format!("{path}.{name}");
            let nested = parent.is_some();
            // Ids and extensions of parts are as those of the record.
            if nested && !whole && matches!(name, "id" | "extension" | "modifierExtension") {
                continue;
            }
            let same = edge.why == Why::Inherited
                || edge.why == Why::Reference && parent.is_some_and(|p| p.why == Why::Reference);
            let part = parent.is_some_and(|p| !p.is_bracket());
            if whole || !part || !same {
                rows.push(self.row(resource, &path, edge));
            }
            let deeper = edge.is_bracket() || !matches!(edge.category, Assigned::Extension(_));
            if deeper && name != "contained" && !seen.contains(&edge.node) && seen.len() < DEPTH_MAX {
                seen.push(edge.node);
                self.below(resource, &path, edge.node, Some(edge), false, seen, rows);
                seen.pop();
            }
        }
    }

    fn row(&self, resource: &str, path: &str, edge: &Edge) -> Row {
        let mut categories = CategorySet::EMPTY;
        // What only holds others is judged by them, and a contained record by its own type.
        let why = if edge.is_bracket() || edge.type_name == "Resource" { Why::Bracket } else { edge.why };
        match edge.category {
            _ if why == Why::Bracket => {}
            Assigned::Fixed(category) => categories.insert(category),
            Assigned::Reference if edge.targets.types().next().is_some() => {
                edge.targets.types().for_each(|t| categories.insert(Self::link_category(t)));
            }
            Assigned::Reference => {
                use crate::category::Category::{PatientLink, RecordLink, Staff};
                [PatientLink, RecordLink, Staff].into_iter().for_each(|c| categories.insert(c));
            }
            Assigned::Extension(_) => {}
        }
        Row {
            path: path.to_owned(),
            type_name: edge.type_name,
            categories,
            why,
            rule: edge.rule(why, resource),
            modifier: edge.modifier,
            mandatory: edge.mandatory,
        }
    }
}

impl Edge {
    /// The line of `categories.yaml` that decided for it, in a record of that type.
    fn rule(&self, why: Why, resource: &str) -> String {
        let path = self.path.trim_end_matches("[x]");
        let name = path.rsplit('.').next().unwrap_or(path);
        let of_type = self.type_name;
        match why {
            Why::Element => format!("elements: {path}"),
            Why::ElementOfType => format!("elements: {path}:{of_type}"),
            Why::Part => format!("parts: {path}"),
            Why::PartOfType => format!("parts: {path}:{of_type}"),
            Why::Common => "the same in every resource".to_owned(),
            Why::Whole => format!("whole: {resource}"),
            Why::Name => format!("names: {name}"),
            Why::Code if of_type == "boolean" => "a boolean".to_owned(),
            Why::Code => "a code from a fixed list".to_owned(),
            Why::Type => format!("types: {of_type}"),
            Why::Resource => format!("resources: {resource}"),
            Why::Inherited => "as what it is a part of".to_owned(),
            Why::Id => "an id".to_owned(),
            Why::Reference => "by what the reference names".to_owned(),
            Why::Extension => "by the URL of the extension".to_owned(),
            Why::Bracket if self.type_name == "Resource" => "a record of its own".to_owned(),
            Why::Bracket => "only holds others together".to_owned(),
        }
    }
}
