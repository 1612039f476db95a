//! Draws the result of a sweep: memory as a stacked bar for each setting, and speed as a line.

use std::fmt::Write as _;
use std::fs;

use mullama::{Error, ErrorKind, Plan, PlannedDevice, Sweep};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
/// Margins for labels.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Colours of the devices. System RAM has the colour `SYSTEM_RAM_COLOUR`.
const COLOURS: [&str; 6] = ["#3b6ea5", "#d98c3f", "#4f9a6b", "#9a5b8f", "#c2b04a", "#6c8ebf"];
const SYSTEM_RAM_COLOUR: &str = "#b8b8b8";

const SWEEPS: [(&str, Sweep); 4] = [
    ("layers", Sweep::Layers),
    ("context", Sweep::Context),
    ("kv", Sweep::Kv),
    ("quant", Sweep::Quant),
];

/// The sweep with this name.
pub fn sweep(name: &str) -> Result<Sweep, String> {
    let found = SWEEPS.iter().find(|(known, _)| *known == name);
    found.map(|(_, sweep)| *sweep).ok_or_else(|| "one of layers, context, kv, quant".to_owned())
}

/// The heading for the setting that a sweep varies.
pub fn name(sweep: Sweep) -> &'static str {
    match sweep {
        Sweep::Layers => "LAYERS",
        Sweep::Context => "CONTEXT SIZE",
        Sweep::Kv => "KV TYPE",
        Sweep::Quant => "QUANTISATION",
    }
}

/// Draws plans into an SVG file.
pub fn write(file: &str, sweep: Sweep, plans: &[(String, Plan)]) -> Result<(), Error> {
    fs::write(file, svg(name(sweep), plans)).map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot write {file}: {error}"))
            .with_context("path", file)
    })
}

fn svg(what: &str, plans: &[(String, Plan)]) -> String {
    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
    let total = |plan: &Plan| plan.all_devices().map(PlannedDevice::total).sum::<u64>() as f64;
    let most = plans.iter().map(|(_, plan)| total(plan)).fold(1.0, f64::max);
    let speed = |plan: &Plan| plan.predicted.as_ref().map(|predicted| predicted.decode_tps);
    let fastest = plans.iter().filter_map(|(_, plan)| speed(plan)).fold(0.0, f64::max);
    let (inner_width, inner_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let step = inner_width / plans.len().max(1) as f64;
    let bar = step * 0.7;

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let mut line = Vec::new();
    for (index, (setting, plan)) in plans.iter().enumerate() {
        let x = LEFT + step * (index as f64 + 0.15);
        let mut y = TOP + inner_height;
        for (place, device) in plan.all_devices().enumerate() {
            let height = device.total() as f64 / most * inner_height;
            y -= height;
            let colour = COLOURS.iter().cycle().nth(place);
            let colour =
                colour.filter(|_| place < plan.devices.len()).unwrap_or(&SYSTEM_RAM_COLOUR);
            let opacity = if plan.fits { 1.0 } else { 0.35 };
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{bar:.1}\" height=\"{height:.1}\" \
                 fill=\"{colour}\" fill-opacity=\"{opacity}\"><title>{}, {setting}: {:.2} GiB</title>\
                 </rect>",
                device.name,
                device.total() as f64 / GIB
            );
        }
        // Omit labels that would overlap.
        if index % plans.len().div_ceil(20) == 0 {
            text(&mut out, x + bar / 2.0, HEIGHT - BOTTOM + 18.0, "middle", setting);
        }
        if let Some(speed) = speed(plan).filter(|_| plan.fits) {
            let y = TOP + inner_height * (1.0 - speed / fastest);
            line.push(format!("{:.1},{y:.1}", x + bar / 2.0));
        }
    }
    if line.len() > 1 {
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#a02020\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        text(&mut out, WIDTH - RIGHT + 6.0, TOP + 4.0, "start", &format!("{fastest:.0} t/s"));
        text(&mut out, WIDTH - RIGHT + 6.0, HEIGHT - BOTTOM, "start", "0");
    }
    text(&mut out, LEFT - 6.0, TOP + 4.0, "end", &format!("{:.1} GiB", most / GIB));
    text(&mut out, LEFT - 6.0, HEIGHT - BOTTOM, "end", "0");
    text(&mut out, WIDTH / 2.0, HEIGHT - 14.0, "middle", &what.to_lowercase());
    legend(&mut out, plans);
    out + "</svg>\n"
}

/// Draws the legend of the colours.
fn legend(out: &mut String, plans: &[(String, Plan)]) {
    let Some((_, widest)) = plans.iter().max_by_key(|(_, plan)| plan.devices.len()) else { return };
    let names = widest.devices.iter().map(|device| device.name.as_str());
    let entries = names.zip(COLOURS.iter().cycle().copied());
    let entries = entries.chain([("system RAM", SYSTEM_RAM_COLOUR), ("tokens/s", "#a02020")]);
    let mut x = LEFT;
    for (name, colour) in entries {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"18\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
        );
        text(out, x + 17.0, 28.0, "start", name);
        x += 40.0 + 7.0 * name.len() as f64;
    }
    text(out, WIDTH - RIGHT, 28.0, "end", "pale: does not fit");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ =
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{escaped}</text>");
}

#[cfg(test)]
mod tests {
    use mullama::PlanOptions;

    use super::*;

    #[test]
    fn sweep_plot_has_one_bar_per_device_and_setting() {
        let options = PlanOptions::default().with_devices(["4MiB".parse().unwrap()]);
        let plans = mullama::sweep("demo", &options, Sweep::Layers).unwrap();
        let drawn = svg(name(Sweep::Layers), &plans);
        let bars: usize = plans.iter().map(|(_, plan)| plan.all_devices().count()).sum();
        assert_eq!(drawn.matches("<title>").count(), bars);
        assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
        assert!(drawn.contains("fill-opacity=\"0.35\""), "not all layers fit");
    }
}
