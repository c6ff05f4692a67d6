//! How findings are told: to people with the line that they are about, to machines as one document.

use std::io::IsTerminal as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use drape_view::Fault;
use serde_json::{Value, json};

use crate::workbench::examine::{Finding, Severity};

/// One finding with its line, in colours where somebody looks on.
pub(super) fn told(severity: Severity, fault: &Fault) -> String {
    let looked_at = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let renderer = if looked_at { Renderer::styled() } else { Renderer::plain() };
    let level = match severity {
        Severity::Fault => Level::ERROR.with_name("fault"),
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = match &fault.span {
        // The place is shown below; what is no place is the name of a key.
        Some(span) if is_place(&fault.path, span.file()) => fault.what.clone(),
        _ => format!("{}: {}", fault.path, fault.what),
    };
    let title = level.primary_title(title).id(fault.code);
    let mut group = match &fault.span {
        Some(span) => {
            let snippet = Snippet::source(span.text()).path(span.file());
            title.element(snippet.annotation(AnnotationKind::Primary.span(span.range())))
        }
        None => {
            // Without a text the help stands below as it is.
            let told = renderer.render(&[Group::with_title(title)]);
            return match &fault.help {
                Some(help) => format!("{told}\n  = help: {help}"),
                None => told,
            };
        }
    };
    if let Some(help) = &fault.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// Whether a path says no more than file and line.
fn is_place(path: &str, file: &str) -> bool {
    let name = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    let (start, line) = path.rsplit_once(':').unwrap_or((path, ""));
    line.bytes().all(|b| b.is_ascii_digit()) && name(start) == name(file)
}

/// `2 faults, 1 warning`.
pub(super) fn counted(findings: &[Finding]) -> String {
    let count = |severity: Severity| findings.iter().filter(|f| f.severity == severity).count();
    let part = |severity: Severity| match count(severity) {
        0 => None,
        1 => Some(format!("1 {}", severity.name())),
        n => Some(format!("{n} {}s", severity.name())),
    };
    let parts: Vec<String> =
        [Severity::Fault, Severity::Warning, Severity::Note].into_iter().filter_map(part).collect();
    parts.join(", ")
}

/// One finding for a machine; what is not known is `null`.
pub(super) fn document(finding: &Finding, tenant: Option<&str>) -> Value {
    let fault = &finding.fault;
    let span = fault.span.as_ref();
    json!({
        "severity": finding.severity.name(),
        "code": fault.code,
        "file": span.map(drape_view::Span::file),
        "line": span.map(drape_view::Span::line),
        "column": span.map(drape_view::Span::column),
        "path": fault.path,
        "what": fault.what,
        "help": fault.help,
        "tenant": tenant,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drape_view::Span;

    use super::*;

    #[test]
    fn a_finding_is_told_with_its_line_and_a_mark_under_the_word() {
        let text: Arc<str> = "version: 1\nredaction: quiet\n".into();
        let fault = Fault::new("treatments.yaml redaction", "`quiet` is not known").code("treatments");
        let fault = fault.help("write `declared`").at(Span::new("ours/treatments.yaml", &text, 22..27));
        let told = told(Severity::Fault, &fault);
        assert_eq!(
            told,
            "fault[treatments]: treatments.yaml redaction: `quiet` is not known\n \
             --> ours/treatments.yaml:2:12\n  |\n2 | redaction: quiet\n  |            ^^^^^\n  |\n  \
             = help: write `declared`"
        );
    }

    #[test]
    fn a_path_that_is_only_a_place_is_not_said_twice_and_what_has_no_place_keeps_its_path() {
        let text: Arc<str> = "permit (principal, action, resource);".into();
        let fault = Fault::new("a.cedar:1", "`x` is wrong").at(Span::new("ours/a.cedar", &text, 0..6));
        assert!(told(Severity::Warning, &fault).starts_with("warning[invalid]: `x` is wrong\n"));
        let fault = Fault::new("policies", "nobody is shown").code("unreached-category");
        assert_eq!(told(Severity::Note, &fault), "note[unreached-category]: policies: nobody is shown");
    }
}
