//! Policy tests: files beside the policies that say who asks for what, and what must come of it.

mod file;
mod observe;

pub use file::{Case, Expect, Request, TestFile, Treated, parse, read_all, reference};
