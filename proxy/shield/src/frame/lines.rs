//! A file of a bulk export: each line is one record, held whole, judged and written with its end of line, or gone.

use std::sync::Arc;

use drape_view::{Facts, Reason};

use super::{Place, Shield};
use crate::{Answer, Expect, Fault, FaultKind, Step, facts};

impl Shield {
    /// The type that every line must be of, where lines are what is expected.
    pub(super) fn line_type(&self) -> Option<&str> {
        match &self.setup.expect {
            Expect::Lines { resource_type } => Some(resource_type),
            _ => None,
        }
    }

    /// Takes in bytes up to the end of `chunk` or to the end of a line that holds a record. JSON allows no line break
    /// within a string, so that a break is always the end of the line; a record that goes on behind it is no record.
    pub(super) fn feed_lines(&mut self, chunk: &[u8]) -> Result<(usize, Step), Fault> {
        let mut at = 0;
        while at < chunk.len() {
            let rest = &chunk[at..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            if self.held.len() + line.len() > self.setup.limits.entry_bytes_max {
                let what = "a record is larger than `entry_bytes_max`".into();
                return Err(Fault { kind: FaultKind::Limit, what });
            }
            self.held.extend_from_slice(line);
            at += line.len() + usize::from(end.is_some());
            if end.is_some()
                && let Some(facts) = self.line()?
            {
                return Ok((at, Step::Ask(facts)));
            }
        }
        Ok((at, Step::Hungry))
    }

    /// The body has ended. Its last line may do so without an end of line: then it is complete only now, and must be
    /// answered before [`Shield::finish`]. Other answers say themselves where they end.
    pub fn close(&mut self) -> Result<Step, Fault> {
        if self.line_type().is_none() || self.place == Place::Asked {
            return Ok(Step::Hungry);
        }
        Ok(self.line()?.map_or(Step::Hungry, Step::Ask))
    }

    /// What is held is a line: its facts, or nothing where it is blank.
    fn line(&mut self) -> Result<Option<Arc<Facts>>, Fault> {
        if self.held.iter().all(u8::is_ascii_whitespace) {
            self.held.clear();
            return Ok(None);
        }
        self.tape.fill(&self.held, self.setup.limits.depth_max)?;
        let pointers = self.setup.pointers;
        let facts = facts::read(&self.setup.catalogue, &self.tape, &self.held, 0, &self.bases(), pointers)?;
        let main = facts.main().ok_or_else(|| Fault::internal("no record was read"))?;
        if self.line_type() != Some(main.resource_type.as_str()) {
            return Err(Fault::upstream("a line holds a record of another type than its file"));
        }
        let facts = Arc::new(facts);
        self.asked = Some(Arc::clone(&facts));
        self.place = Place::Asked;
        Ok(Some(facts))
    }

    /// Writes the line as its verdict has it. Of a withheld one nothing stays, not even an empty line.
    pub(super) fn write_line(
        &mut self,
        facts: &Facts,
        answer: &Answer,
        out: &mut Vec<u8>,
    ) -> Result<Result<(), Reason>, Fault> {
        let written = self.record(facts, answer, out)?;
        if written.is_ok() {
            out.push(b'\n');
        }
        Ok(written)
    }

    /// The next line may come.
    pub(super) fn next_line(&mut self) {
        self.tape.clear();
        self.held.clear();
        self.place = Place::Start;
    }

    /// Whether every line that was begun has been answered.
    pub(super) fn lines_are_done(&self) -> bool {
        self.place == Place::Start && self.held.is_empty()
    }
}
