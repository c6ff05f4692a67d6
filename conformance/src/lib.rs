//! Black-box tests of Drape in front of real servers.
