//! The proxy itself: configuration, listeners, the stages of a request, officer pages, command line.

pub mod batch;
pub mod body;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod cors;
pub mod deflate;
pub mod demo;
pub mod dialect;
pub mod discovery;
pub mod exchange;
pub mod exports;
pub mod facts;
pub mod inflate;
pub mod issuers;
mod line;
pub mod listen;
pub mod metrics;
pub mod officer;
pub mod page;
pub mod parts;
pub mod refusal;
pub mod serve;
pub mod stages;
pub mod tokens;
pub mod upstream;
