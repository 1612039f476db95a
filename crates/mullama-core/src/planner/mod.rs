//! Plans: what fits where, and how fast it runs, on the hardware of this machine or on described
//! hardware.

mod advice;
mod alternatives;
mod bench;
mod calibrate;
mod environment;
mod hardware;
mod model;
mod options;
mod plan;
mod planning;
mod shape;
mod source;
mod spec;
mod speed;
mod table;
mod verdict;

pub use alternatives::Sweep;
pub use calibrate::{Calibration, Measured, calibrate, measure_speed};
pub use options::{PlanFields, PlanOptions};
pub use plan::{Alternative, Plan, PlannedDevice, PlannedModel, Prediction};
pub use planning::{plan, sweep};
pub use shape::Shape;
pub use source::PlanSource;
pub use spec::{Bandwidth, DeviceList, DeviceSpec};
pub use verdict::Verdict;
