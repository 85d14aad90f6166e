//! Free ports for servers that must be able to come back on the same port.

pub use log_shipper::testing::free_port;
