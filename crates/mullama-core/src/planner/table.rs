//! Plans as text: a table, bars, and an explanation of the placement of layers.

use std::fmt::{self, Write as _};

use super::plan::{Plan, PlannedDevice, Prediction};
use crate::device::HOST;
use mullama_base::{printable, table, units, wrapped};

/// Maximum width of a bar in characters.
const WIDTH: u64 = 48;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.text(None, false)))
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Predicted: {} tokens/s ({} with a full context), prompts {} tokens/s, loading {:.1} s",
            rate(self.decode_tps),
            rate(self.decode_tps_full),
            rate(self.prefill_tps),
            self.load_seconds
        )?;
        writeln!(f, "Bound by {}", self.bound_by)?;
        for (device, source) in &self.sources {
            writeln!(f, "  {device}: {source}")?;
        }
        Ok(())
    }
}

/// Formats a rate with a sensible number of digits.
pub(super) fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

impl Plan {
    /// The plan as text. Lines are wrapped at `width` characters if it is set. Alternatives that do not fit are only
    /// counted, unless `all` is set.
    pub fn text(&self, width: Option<usize>, all: bool) -> String {
        let name = self.model.name.as_deref().unwrap_or("model");
        let mut text =
            format!("{name}: {}, {}\n", self.model.architecture, units::memory(self.model.size));
        let mut line = |line: &str| {
            text += line;
            text.push('\n');
        };
        match &self.refusal {
            Some(refusal) => line(&format!("Does not fit: {refusal}")),
            None => line(&self.headline()),
        }
        if let Some(most) = self.max_gpu_context_size {
            line(&format!("Largest context with all layers on GPUs: {most} tokens"));
        }
        line("");
        text += &self.device_table(width);
        text.push('\n');
        text += &self.bars(width);
        if let Some(predicted) = self.predicted.as_ref().filter(|_| self.fits) {
            let _ = write!(text, "\n{predicted}");
        }
        if let Some(verdict) = self.verdict {
            let _ = writeln!(text, "\nVerdict: {verdict}");
        }
        for advice in &self.advice {
            let _ = writeln!(text, "{advice}");
        }
        text += &self.alternatives_text(all);
        match width {
            Some(width) => wrapped(&text, width),
            None => text,
        }
    }

    fn alternatives_text(&self, all: bool) -> String {
        let (shown, hidden): (Vec<_>, Vec<_>) =
            self.alternatives.iter().partition(|one| all || one.fits);
        let mut text = String::new();
        if !self.alternatives.is_empty() {
            text += "\nOther ways, the best first:\n";
        }
        for one in shown {
            let speed = one.decode_tps.map(|speed| format!(", {} tokens/s", rate(speed)));
            let _ = writeln!(
                text,
                "  {:<20} {}{} of {} layers on GPUs, a context of {}, {} of weights{}",
                one.change,
                if one.fits { "" } else { "does not fit: " },
                one.n_gpu_layers,
                self.n_layers,
                one.context_size,
                units::memory(one.size),
                speed.unwrap_or_default(),
            );
        }
        if !hidden.is_empty() {
            let verb = if hidden.len() == 1 { "does" } else { "do" };
            let _ = writeln!(text, "  ({} more {verb} not fit)", hidden.len());
        }
        text
    }

    /// A one-line summary: whether and how the model fits, and the predicted speed.
    pub fn summary(&self) -> String {
        let speed = self
            .predicted
            .as_ref()
            .filter(|_| self.fits)
            .map(|predicted| format!("; about {} tokens/s", rate(predicted.decode_tps)));
        let verdict = self.verdict.map(|verdict| format!(", {verdict}"));
        match &self.refusal {
            Some(refusal) => format!("Does not fit: {}", refusal.replace('\n', "; ")),
            None => self.headline() + &speed.unwrap_or_default() + &verdict.unwrap_or_default(),
        }
    }

    fn headline(&self) -> String {
        let (layers, all) = (self.n_gpu_layers, self.n_layers);
        let mut text = match layers {
            0 => format!("Fits: all {all} layers on the processor"),
            _ if layers >= all => format!("Fits: all {all} layers on GPUs"),
            _ => format!("Fits: {layers} of {all} layers on GPUs"),
        };
        if self.n_cpu_moe > 0 {
            let _ = write!(text, ", the experts of {} in system RAM", self.n_cpu_moe);
        }
        let _ = write!(text, ", a context of {} tokens", self.context_size);
        if self.pages {
            text += "; more weights stay in system RAM than there is room for, so they are read from the file repeatedly";
        }
        text
    }

    fn device_table(&self, width: Option<usize>) -> String {
        let has_draft = self.all_devices().any(|device| device.draft > 0);
        let mut header = vec!["DEVICE", "LAYERS", "WEIGHTS", "KV", "COMPUTE"];
        header.extend(has_draft.then_some("DRAFT MODEL"));
        let has_projector = self.all_devices().any(|device| device.projector > 0);
        header.extend(has_projector.then_some("PROJECTOR"));
        header.extend(["LEFT FREE", "DESCRIPTION"]);
        let rows: Vec<Vec<String>> = self
            .all_devices()
            .map(|device| {
                let left = match device.free.checked_sub(device.total()) {
                    Some(left) => units::memory(left),
                    None => format!("-{}", units::memory(device.total() - device.free)),
                };
                let mut row = vec![
                    device.name.clone(),
                    device.layers.to_string(),
                    units::memory(device.weights),
                    units::memory(device.kv),
                    units::memory(device.compute),
                ];
                row.extend(has_draft.then(|| units::memory(device.draft)));
                row.extend(has_projector.then(|| units::memory(device.projector)));
                row.extend([left, device.description.clone()]);
                row
            })
            .collect();
        // Numbers are right-aligned.
        table(&header, &rows, &(1..header.len() - 1), width)
    }

    fn bars(&self, width: Option<usize>) -> String {
        let widest = self.all_devices().map(|device| device.name.chars().count()).max();
        let widest = widest.unwrap_or_default();
        // Two spaces, and the line that marks the end of the memory.
        let room = width.map_or(WIDTH, |width| width.saturating_sub(widest + 3) as u64);
        let mut text = String::new();
        for device in self.all_devices() {
            let _ =
                writeln!(text, "{:<widest$}  {}", device.name, bar(device, room.clamp(1, WIDTH)));
        }
        let draft = if self.all_devices().any(|device| device.draft > 0) {
            "▞ draft model  "
        } else {
            ""
        };
        let projector = if self.all_devices().any(|device| device.projector > 0) {
            "▚ projector  "
        } else {
            ""
        };
        text + "█ weights  ▓ KV cache  ▒ compute  " + draft + projector + "░ free\n"
    }

    /// Explains the placement of each layer.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        let mut first = 0;
        let layers = self.layer_devices();
        for run in layers.chunk_by(|a, b| a == b) {
            let last = first + run.len() - 1;
            let named =
                if last + 1 == layers.len() { "output".to_owned() } else { last.to_string() };
            let range = if run.len() == 1 { named } else { format!("{first} to {named}") };
            let reason = self.reason(run[0], run.len() as u64);
            let _ = writeln!(text, "Layers {range} on {}: {reason}", run[0]);
            first = last + 1;
        }
        if self.n_cpu_moe > 0 {
            let _ = writeln!(
                text,
                "The experts of the first {} layers stay in system RAM: they are the largest part of a mixture of experts, and each token uses only a few of them.",
                self.n_cpu_moe
            );
        }
        text
    }

    fn reason(&self, device: &str, layers: u64) -> String {
        if device == HOST {
            return match self.devices.last() {
                None if self.n_gpu_layers == 0 => "no layer is placed on a GPU.".to_owned(),
                _ => "the GPUs have no room for them; the last layers are on the GPUs.".to_owned(),
            };
        }
        let Some(device) = self.devices.iter().find(|known| known.name == device) else {
            return String::new();
        };
        if self.shares_layers() {
            let others: Vec<_> = self.devices[1..].iter().map(|gpu| gpu.name.as_str()).collect();
            return format!("each GPU has a part of every layer, with {}.", others.join(", "));
        }
        let each = (device.weights + device.kv) / layers.max(1);
        let left = device.free.saturating_sub(device.total());
        let kept = units::memory(device.margin);
        let left_words = units::memory(left);
        let each_words = units::memory(each);
        if left < each + device.margin {
            format!(
                "it is full; one more takes about {each_words}, {left_words} are left, of which {kept} stay free."
            )
        } else {
            format!("they fit, and {left_words} are left.")
        }
    }
}

/// Draws the planned memory of a device to scale, `width` characters wide. Memory beyond the device's size is drawn
/// after a line.
fn bar(device: &PlannedDevice, width: u64) -> String {
    let whole = device.free.max(device.total()).max(1);
    let mut text = String::new();
    let (mut before, mut drawn) = (0, 0);
    for (bytes, mark) in [
        (device.weights, '█'),
        (device.kv, '▓'),
        (device.compute, '▒'),
        (device.draft, '▞'),
        (device.projector, '▚'),
        (u64::MAX, '░'),
    ] {
        before = bytes.saturating_add(before).min(whole);
        let end =
            (u128::from(before) * u128::from(width) + u128::from(whole) / 2) / u128::from(whole);
        while drawn < end {
            if u128::from(device.free) * u128::from(width) / u128::from(whole) == drawn {
                text.push('|');
            }
            text.push(mark);
            drawn += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_to_scale() {
        let device = |weights, kv, free| PlannedDevice {
            weights,
            kv,
            compute: 0,
            free,
            ..PlannedDevice::default()
        };
        let count = |text: &str, mark| text.chars().filter(|c| *c == mark).count();
        let half = bar(&device(50, 25, 100), WIDTH);
        assert_eq!((count(&half, '█'), count(&half, '▓'), count(&half, '░')), (24, 12, 12));
        let over = bar(&device(200, 0, 100), WIDTH);
        assert_eq!((count(&over, '█'), count(&over, '|')), (48, 1));
        assert_eq!(count(&bar(&device(0, 0, 0), WIDTH), '░'), 48);
    }

    #[test]
    fn a_plan_fits_a_narrow_terminal() {
        let path = mullama_testkit::fixture("large");
        let options = crate::PlanOptions::default()
            .with_devices([crate::DeviceSpec::new(100 << 20), crate::DeviceSpec::new(8 << 20)]);
        let plan = crate::plan(path, &options).unwrap();
        for width in [40, 60] {
            let text = plan.text(Some(width), true);
            let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
            assert!(longest.chars().count() <= width, "{longest}\n{text}");
        }
        assert_eq!(plan.text(Some(400), false), plan.to_string());
    }

    #[test]
    fn tensor_split_gpus_count_all_layers() {
        let path = mullama_testkit::fixture("small");
        let tensor = crate::ModelParams::default().with_split_mode(crate::SplitMode::Tensor);
        let device =
            || crate::DeviceSpec { bandwidth: Some(1e12), ..crate::DeviceSpec::new(1 << 30) };
        let plan = |params: crate::ModelParams| {
            let options =
                crate::PlanOptions::default().with_devices([device(), device()]).with_model(params);
            crate::plan(&path, &options).unwrap()
        };
        let whole = plan(tensor.clone());
        assert!(whole.devices.iter().all(|gpu| gpu.layers == whole.n_layers), "{whole}");
        assert_eq!((whole.devices.len(), whole.n_gpu_layers), (2, whole.n_layers));
        assert_eq!(whole.layer_devices().len(), whole.n_layers as usize);
        assert!(whole.explain().contains("a part of every layer, with CUDA1"), "{whole}");
        assert_eq!(whole.devices[0].weights, whole.devices[1].weights);
        // The same work as on one GPU, and the way between the GPUs.
        let alone = plan(crate::ModelParams::default());
        let speed = |plan: &Plan| plan.predicted.as_ref().unwrap().decode_tps;
        assert!((0.1..1.0).contains(&(speed(&whole) / speed(&alone))), "{whole}{alone}");
        let uneven = plan(tensor.clone().with_tensor_split([3.0, 1.0]));
        assert!(uneven.devices[0].weights > 2 * uneven.devices[1].weights, "{uneven}");
        let part = plan(tensor.with_n_gpu_layers(1));
        assert_eq!(part.n_gpu_layers, 1);
        assert_eq!(part.layer_devices().len(), part.n_layers as usize);
        assert_eq!(part.layer_devices()[0], HOST);
    }

    #[test]
    fn alternatives_that_do_not_fit_are_listed_on_request() {
        let other = |change: &str, fits| super::super::Alternative {
            change: change.to_owned(),
            fits,
            n_gpu_layers: 1,
            context_size: 512,
            size: 1,
            decode_tps: None,
            options: serde_json::Map::new(),
        };
        let path = mullama_testkit::fixture("small");
        let mut plan = crate::plan(path, &crate::PlanOptions::default().with_devices([])).unwrap();
        plan.alternatives = vec![other("one way", true), other("another", false)];
        let text = plan.to_string();
        assert!(text.contains("one way") && !text.contains("another"), "{text}");
        assert!(text.contains("(1 more does not fit)"), "{text}");
        let text = plan.text(None, true);
        assert!(text.contains("another") && text.contains("does not fit: 1 of"), "{text}");
    }
}
