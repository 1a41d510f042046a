//! The turn rules, each by itself, then all under random inputs, in virtual time.

mod random;
mod rules;
