//! The example configurations of `config/`, compiled in as starting points.

/// One of them.
#[derive(Debug)]
pub struct Template {
    /// The word for it, which is its file's name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub title: &'static str,
    /// The file.
    pub text: &'static str,
}

/// All of them.
pub const TEMPLATES: [Template; 3] = [
    Template { name: "epic", title: "in front of Epic", text: include_str!("../../../config/epic.yaml") },
    Template {
        name: "oracle-health",
        title: "in front of Oracle Health (Cerner) Millennium",
        text: include_str!("../../../config/oracle-health.yaml"),
    },
    Template {
        name: "hapi",
        title: "in front of HAPI FHIR, or any server that trusts whoever reaches it",
        text: include_str!("../../../config/hapi.yaml"),
    },
];

/// The template of that name.
pub fn find(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}
