//! Reads ahead: the facts of every record of an answer, so that what they need can be looked up for many at one time.

use std::sync::{Arc, Mutex, PoisonError};

use drape_keys::Pseudonymizer;
use drape_view::{Catalogue, Facts, Reason, Verdict};

use crate::{Answer, BundleKind, Expect, Fault, Limits, Links, Setup, Shield, Step};

/// A shield that lets nothing through and tells what it saw.
#[derive(Debug)]
pub struct Scout {
    shield: Shield,
    nowhere: Vec<u8>,
    next: Arc<Mutex<Option<String>>>,
}

/// Remembers where the next page is.
struct Next(Arc<Mutex<Option<String>>>);

impl Links for Next {
    fn rewrite(&mut self, relation: &str, url: &str) -> Option<String> {
        if relation == "next" {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.to_owned());
        }
        None
    }

    fn more(&mut self, _: crate::PlaceOfMore, _: u32) -> Option<String> {
        None
    }
}

impl Scout {
    /// At the start of a searchset; `upstream_base` is the server's base URL, without a trailing slash.
    pub fn new(
        catalogue: Arc<Catalogue>,
        pseudonyms: Arc<Pseudonymizer>,
        upstream_base: &str,
        limits: Limits,
    ) -> Self {
        let next = Arc::default();
        let shield = Shield::new(Setup {
            catalogue,
            expect: Expect::Bundle(BundleKind::Searchset),
            upstream_base: upstream_base.to_owned(),
            public_base: String::new(),
            limits,
            uniform: false,
            shows_all: false,
            declared: false,
            paging: None,
            links: Box::new(Next(Arc::clone(&next))),
            pseudonyms,
            tenant: String::new(),
            today: String::new(),
            pointers: true,
        });
        Self { shield, nowhere: Vec::new(), next }
    }

    /// Takes in bytes; the facts of each record that is complete with them are added to `seen`. A fault is one of the
    /// answer itself: the shield that lets it through comes upon it in the same place.
    pub fn feed(&mut self, chunk: &[u8], seen: &mut Vec<Arc<Facts>>) -> Result<(), Fault> {
        let mut from = 0;
        while from < chunk.len() {
            let (taken, step) = self.shield.feed(&chunk[from..], &mut self.nowhere)?;
            from += taken;
            if let Step::Ask(facts) = step {
                // What lives on another server is not the record that is known here by the same id.
                let here = !self.shield.is_elsewhere();
                let verdicts = facts.records.iter().map(|_| Verdict::Withhold(Reason::NotReceived)).collect();
                self.shield.answer(Answer { verdicts, seal_key: None, hide: None }, &mut self.nowhere)?;
                if here && facts.main().is_some() {
                    seen.push(facts);
                }
            }
            self.nowhere.clear();
        }
        self.shield.drain();
        Ok(())
    }

    /// How much memory is taken by what is held back.
    pub fn held_bytes(&self) -> usize {
        self.shield.held_bytes()
    }

    /// Ends the answer, which must be complete; gives its own link to the next page.
    pub fn finish(mut self) -> Result<Option<String>, Fault> {
        self.shield.finish(&mut self.nowhere)?;
        Ok(self.next.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}
