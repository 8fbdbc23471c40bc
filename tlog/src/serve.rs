//! The HTTP chassis.
