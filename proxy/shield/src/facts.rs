//! First pass over an entry: what it is, whom it is about, what is coded in it.

use std::borrow::Cow;

use drape_fhir::json::Kind as J;
use drape_fhir::reference::Reference;
use drape_view::catalogue::{Edge, Fact, Kind, NodeId};
use drape_view::granular::{self, Coded, Place, Token};
use drape_view::{Catalogue, Coding, Facts, RecordFacts};

use crate::tape::Tape;
use crate::{Fault, FaultKind, reference};

/// Each contained record is judged by itself and along with all the others, so their number is bounded.
const CONTAINED_MAX: usize = 4_096;

/// The facts of the resource at `i` and of everything contained in it.
pub(crate) fn read(
    catalogue: &Catalogue,
    tape: &Tape,
    text: &[u8],
    i: usize,
    bases: &[&str],
    pointers: bool,
) -> Result<Facts, Fault> {
    let (records, dates) = (Vec::with_capacity(1), Vec::with_capacity(1));
    let mut reader = Reader { catalogue, tape, text, bases, pointers, records, dates };
    reader.resource(i, false)?;
    Ok(Facts { records: reader.records })
}

struct Reader<'a> {
    catalogue: &'a Catalogue,
    tape: &'a Tape,
    text: &'a [u8],
    bases: &'a [&'a str],
    /// Whether what references name is wanted.
    pointers: bool,
    records: Vec<RecordFacts>,
    /// The rank of the date found for each record.
    dates: Vec<u8>,
}

impl Reader<'_> {
    fn resource(&mut self, i: usize, contained: bool) -> Result<(), Fault> {
        if self.tape.get(i).kind != J::ObjectStart {
            return Err(Fault::upstream("a resource is not an object"));
        }
        let resource_type = self
            .tape
            .string(self.text, i, "resourceType")
            .ok_or_else(|| Fault::upstream("a resource without `resourceType`"))?
            .into_owned();
        let node = self
            .catalogue
            .root(&resource_type)
            .ok_or_else(|| Fault::upstream("a resource of a type that FHIR R4 does not have"))?;
        let place = self.records.len();
        if place > CONTAINED_MAX {
            return Err(Fault {
                kind: FaultKind::Limit,
                what: format!("more than {CONTAINED_MAX} contained records"),
            });
        }
        self.dates.push(u8::MAX);
        self.records.push(RecordFacts { resource_type, patients_complete: true, ..RecordFacts::default() });
        self.object(i, node, place)?;
        if !contained {
            self.tokens(i);
        }
        let meta =
            self.tape.member(self.text, i, "meta").filter(|m| self.tape.get(*m).kind == J::ObjectStart);
        let version = meta.and_then(|m| self.tape.string(self.text, m, "versionId")).map(Cow::into_owned);
        let record = &mut self.records[place];
        record.version = version;
        if record.resource_type == "Patient" {
            // A contained Patient is nobody the server knows by that id.
            let own = record.id.clone().map(|id| if contained { format!("#{id}") } else { id });
            record.patients_complete = own.is_some();
            record.patients = own.into_iter().collect();
        }
        record.patients_complete &= !record.patients.is_empty();
        record.patients.sort();
        record.patients.dedup();
        Ok(())
    }

    /// The codes of the record at `i` that conditions of scopes can ask for.
    fn tokens(&mut self, i: usize) {
        let Some(main) = self.records.first() else { return };
        let mut found = Vec::new();
        for place in granular::places(&main.resource_type) {
            self.coded(i, place, &place.steps, &mut found);
        }
        if let Some(main) = self.records.first_mut() {
            main.tokens = found;
        }
    }

    fn coded(&self, i: usize, place: &Place, steps: &[(String, bool)], found: &mut Vec<Token>) {
        let [(name, list), rest @ ..] = steps else {
            match place.coded {
                Coded::Concept => {
                    let codings = self.tape.member(self.text, i, "coding");
                    for item in codings.into_iter().flat_map(|codings| self.tape.items(codings)) {
                        self.token(place, self.coding(item), found);
                    }
                }
                Coded::Coding => self.token(place, self.coding(i), found),
                Coded::Code => {
                    let code = self.string(i).map(|code| Coding { system: String::new(), code });
                    self.token(place, code, found);
                }
            }
            return;
        };
        let Some(value) = self.tape.member(self.text, i, name) else { return };
        match (self.tape.get(value).kind == J::ArrayStart, *list) {
            (false, _) => self.coded(value, place, rest, found),
            (true, true) => self.tape.items(value).for_each(|item| self.coded(item, place, rest, found)),
            // Several where there can be one: nothing says which is meant.
            (true, false) => {}
        }
    }

    fn token(&self, place: &Place, coding: Option<Coding>, found: &mut Vec<Token>) {
        if let Some(Coding { system, code }) = coding {
            found.push(Token { parameter: place.parameter, system, code });
        }
    }

    fn object(&mut self, i: usize, node: NodeId, place: usize) -> Result<(), Fault> {
        for (key, value) in self.tape.members(i) {
            let name = self.tape.name(self.text, key);
            if let [b'_', base @ ..] = &*name {
                self.beside(value, node, base, place)?;
                continue;
            }
            let Some((_, edge)) = self.catalogue.named_edge(node, &name) else { continue };
            if self.tape.get(value).kind == J::ArrayStart && !edge.list && edge.fact.is_some() {
                // Several where there can be one: nothing says which is meant, so none is taken for the fact.
                let edge = Edge { fact: None, ..*edge };
                self.records[place].patients_complete = false;
                self.records[place].uncoded = true;
                self.each(value, |reader, item| reader.value(item, &edge, place))?;
                continue;
            }
            self.each(value, |reader, item| reader.value(item, edge, place))?;
        }
        Ok(())
    }

    /// Beside a primitive stand only an id and extensions, but those can be coded.
    fn beside(&mut self, i: usize, node: NodeId, base: &[u8], place: usize) -> Result<(), Fault> {
        if self.catalogue.named_edge(node, base).is_none_or(|(_, edge)| edge.kind != Kind::Primitive) {
            return Ok(());
        }
        let node = self.catalogue.primitive_node();
        self.each(i, |reader, item| match reader.tape.get(item).kind {
            J::ObjectStart => reader.object(item, node, place),
            _ => Ok(()),
        })
    }

    /// The value itself, or each item of a list.
    fn each(
        &mut self,
        i: usize,
        mut read: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.tape.get(i).kind != J::ArrayStart {
            return read(self, i);
        }
        let tape = self.tape;
        tape.items(i).try_for_each(|item| read(self, item))
    }

    fn value(&mut self, i: usize, edge: &Edge, place: usize) -> Result<(), Fault> {
        let token = self.tape.get(i);
        if let Some(fact) = edge.fact {
            self.fact(fact, i, edge, place);
        }
        if token.kind != J::ObjectStart {
            return Ok(());
        }
        match edge.kind {
            Kind::Resource => return self.resource(i, true),
            Kind::Primitive => return Ok(()),
            Kind::Complex => {}
        }
        if self.pointers && edge.type_name == "Reference" {
            let found = reference::pointers(self.tape, self.text, i, edge, self.bases);
            self.records[place].pointers.extend(found);
        }
        match edge.type_name {
            "CodeableConcept" if !matches!(edge.fact, Some(Fact::Security | Fact::Tag)) => {
                self.concept(i, edge.node, place)?;
            }
            // A Coding within a CodeableConcept is read with it; others stand for themselves.
            "Coding" if !matches!(edge.fact, Some(Fact::Security | Fact::Tag)) => {
                let found = self.coding(i);
                self.note_concept(found.into_iter().collect(), place);
                self.object(i, edge.node, place)?;
            }
            _ => self.object(i, edge.node, place)?,
        }
        Ok(())
    }

    fn concept(&mut self, i: usize, node: NodeId, place: usize) -> Result<(), Fault> {
        // Nearly every concept has one coding.
        let mut codings = Vec::with_capacity(1);
        let list = self.tape.member(self.text, i, "coding");
        if let Some(list) = list.filter(|list| self.tape.get(*list).kind == J::ArrayStart) {
            codings.extend(self.tape.items(list).filter_map(|item| self.coding(item)));
        }
        self.note_concept(codings, place);
        // Its extensions and those of its codings can be coded too.
        for (key, value) in self.tape.members(i) {
            let name = self.tape.name(self.text, key);
            if let [b'_', base @ ..] = &*name {
                self.beside(value, node, base, place)?;
                continue;
            }
            let Some((_, edge)) = self.catalogue.named_edge(node, &name) else { continue };
            let coding = *name == *b"coding";
            self.each(value, |reader, item| match (coding, reader.tape.get(item).kind) {
                (true, J::ObjectStart) => reader.object(item, edge.node, place),
                (true, _) => Ok(()),
                (false, _) => reader.value(item, edge, place),
            })?;
        }
        Ok(())
    }

    fn note_concept(&mut self, codings: Vec<Coding>, place: usize) {
        let record = &mut self.records[place];
        if codings.is_empty() {
            record.uncoded = true;
        } else {
            record.concepts.push(codings);
        }
    }

    fn coding(&self, i: usize) -> Option<Coding> {
        if self.tape.get(i).kind != J::ObjectStart {
            return None;
        }
        let (mut system, mut code) = (None, None);
        for (key, value) in self.tape.members(i) {
            if self.tape.says(self.text, key, "code") {
                code = self.string(value);
            } else if self.tape.says(self.text, key, "system") {
                system = self.string(value);
            }
        }
        Some(Coding { system: system.unwrap_or_default(), code: code? })
    }

    fn string(&self, i: usize) -> Option<String> {
        (self.tape.get(i).kind == J::String).then(|| self.tape.text(self.text, i).into_owned())
    }

    fn fact(&mut self, fact: Fact, i: usize, edge: &Edge, place: usize) {
        match fact {
            Fact::Id => self.records[place].id = self.string(i),
            // Read from the record's own `meta`: an extension's value can be a Meta too.
            Fact::Version => {}
            Fact::Status => self.records[place].status = self.string(i),
            Fact::BirthDate => self.records[place].birth_date = self.string(i),
            Fact::Security => {
                if let Some(coding) = self.coding(i) {
                    self.records[place].security.push(coding);
                }
            }
            Fact::Tag => {
                if let Some(coding) = self.coding(i) {
                    self.records[place].tags.push(coding);
                }
            }
            Fact::CategoryCode => {
                let codes: Vec<String> = if edge.type_name == "Coding" {
                    self.coding(i).into_iter().map(|c| c.code).collect()
                } else if edge.type_name == "CodeableConcept" && self.tape.get(i).kind == J::ObjectStart {
                    let list = self
                        .tape
                        .member(self.text, i, "coding")
                        .filter(|l| self.tape.get(*l).kind == J::ArrayStart);
                    list.into_iter()
                        .flat_map(|l| self.tape.items(l))
                        .filter_map(|item| self.coding(item))
                        .map(|c| c.code)
                        .collect()
                } else {
                    self.string(i).into_iter().collect()
                };
                self.records[place].category_codes.extend(codes);
            }
            Fact::Subject => match self.target(i) {
                Some(Target::Local("Patient", id)) => self.records[place].patients.push(id),
                Some(Target::Contained(id)) => self.records[place].patients.push(format!("#{id}")),
                // A group, a device, somebody elsewhere: not all patients could be found.
                _ => self.records[place].patients_complete = false,
            },
            Fact::Department => {
                self.name_target(i, place, |r| &mut r.departments);
                if self.tape.get(i).kind == J::ObjectStart
                    && let Some(name) = self.tape.string(self.text, i, "display")
                {
                    self.records[place].department_names.push(name.into_owned());
                }
            }
            Fact::Insurer => self.name_target(i, place, |r| &mut r.insurers),
            Fact::Author => self.name_target(i, place, |r| &mut r.authors),
            Fact::Date(rank) => {
                if rank >= self.dates[place] {
                    return;
                }
                let found = match self.tape.get(i).kind {
                    J::ObjectStart => self
                        .tape
                        .string(self.text, i, "start")
                        .or_else(|| self.tape.string(self.text, i, "end"))
                        .map(std::borrow::Cow::into_owned),
                    _ => self.string(i),
                };
                if let Some(date) = found {
                    self.dates[place] = rank;
                    self.records[place].date = Some(date);
                }
            }
            Fact::FreeText => {}
        }
    }

    fn name_target(&mut self, i: usize, place: usize, list: impl Fn(&mut RecordFacts) -> &mut Vec<String>) {
        if let Some(Target::Local(kind, id)) = self.target(i) {
            list(&mut self.records[place]).push(format!("{kind}/{id}"));
        }
    }

    fn target(&self, i: usize) -> Option<Target> {
        if self.tape.get(i).kind != J::ObjectStart {
            return None;
        }
        let reference = self.tape.string(self.text, i, "reference")?;
        match Reference::parse(&reference, self.bases) {
            Reference::Local { resource_type, id, .. } => {
                let known = drape_fhir::definitions::r4().resource_type(resource_type)?;
                Some(Target::Local(known, id.to_owned()))
            }
            Reference::Contained(id) => Some(Target::Contained(id.to_owned())),
            _ => None,
        }
    }
}

enum Target {
    Local(&'static str, String),
    Contained(String),
}
