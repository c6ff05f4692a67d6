//! Writes the population to standard output, one resource a line, older versions first: `dump [seed] [YYYY-MM-DD]`.

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().map_or(Ok(1), |s| s.parse())?;
    let today = arguments.next().map_or_else(|| Ok(jiff::Zoned::now().date()), |d| d.parse())?;
    let mut out = std::io::stdout().lock();
    for resource in drape_demo::Population::generate(seed, today).resources {
        out.write_all(&resource.json)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
