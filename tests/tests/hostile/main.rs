//! Hostile input at each border of the real programs: paths, requests, tokens, trust files, bundles and files. Each
//! module owns one border and generates its input where the kind of fault allows it.

mod claims;
mod company;
mod files;
mod forwarded;
mod given_up;
mod hosts;
mod listeners;
mod load;
mod log_output;
mod paths;
mod probes;
mod replays;
mod streams;
mod tokens;
mod trust;
mod words;
