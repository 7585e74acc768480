// SPDX-License-Identifier: Apache-2.0

/// The report's style sheet: light and dark as the reader's system has it, black on white on paper.
enum ReportStyle {
  static let sheet = """
    :root {
      color-scheme: light dark;
      --ground: #ffffff; --text: #1b1f24; --faint: #57606a; --rule: #d5dae0; --minor: #eceff2;
      --a: #1658b8; --b: #0b7a63; --c: #8a3ab9; --d: #a3262f; --cpu: #b3560b; --mark: #1b1f24;
    }
    @media (prefers-color-scheme: dark) {
      :root {
        --ground: #14171b; --text: #e6e9ec; --faint: #a0a8b2; --rule: #39414a; --minor: #242a31;
        --a: #7db0ff; --b: #4fd1b2; --c: #d3a1f5; --d: #ff9a9f; --cpu: #f5a65b; --mark: #e6e9ec;
      }
    }
    * { box-sizing: border-box; }
    body {
      margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 54rem;
      font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif;
      color: var(--text); background: var(--ground);
    }
    h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; overflow-wrap: anywhere; }
    h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
    h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
    p { margin: .5rem 0; }
    .answer {
      border-left: 4px solid var(--a); padding: .25rem 0 .25rem .9rem; margin: 1rem 0;
      font-size: 1.05rem;
    }
    .answer p { margin: .25rem 0; }
    .warning { border-left-color: var(--d); }
    .faint { color: var(--faint); font-size: .9rem; }
    dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 1rem 0; }
    dt { color: var(--faint); }
    dd { margin: 0; overflow-wrap: anywhere; }
    code { font: .9em ui-monospace, "Liberation Mono", "DejaVu Sans Mono", monospace; }
    code span { display: inline-block; max-width: 100%; overflow-wrap: anywhere; }
    figure { margin: .75rem 0; }
    .wide { overflow-x: auto; }
    svg { display: block; width: 100%; height: auto; }
    svg text { fill: var(--text); font-size: 12.5px; font-family: inherit; }
    svg .tick { fill: var(--faint); }
    svg .axis { fill: var(--faint); }
    svg .grid { stroke: var(--rule); stroke-width: 1; }
    svg .minor { stroke: var(--minor); stroke-width: 1; }
    svg line.mark { stroke: var(--mark); stroke-width: 1.25; stroke-dasharray: 2 3; }
    svg text.mark { font-weight: 600; paint-order: stroke; stroke: var(--ground); stroke-width: 4px; }
    svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
    svg .line.a { stroke: var(--a); }
    svg .line.b { stroke: var(--b); stroke-dasharray: 9 3; }
    svg .line.c { stroke: var(--c); stroke-dasharray: 2 3; }
    svg .line.d { stroke: var(--d); stroke-dasharray: 9 3 2 3; }
    svg .line.cpu { stroke: var(--cpu); stroke-dasharray: 6 4; }
    svg .line.ideal { stroke: var(--faint); stroke-width: 1.25; stroke-dasharray: 1 4; }
    svg .dot.a { fill: var(--a); } svg .dot.b { fill: var(--b); } svg .dot.c { fill: var(--c); }
    svg .dot.d { fill: var(--d); } svg .dot.cpu { fill: var(--cpu); }
    svg .name { font-weight: 600; }
    svg .name.a { fill: var(--a); } svg .name.b { fill: var(--b); } svg .name.c { fill: var(--c); }
    svg .name.d { fill: var(--d); } svg .name.cpu { fill: var(--cpu); }
    svg .name.ideal { fill: var(--faint); font-weight: 400; }
    table { border-collapse: collapse; font-size: .85rem; margin: .5rem 0; }
    caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
    th, td {
      padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--rule);
      font-variant-numeric: tabular-nums; white-space: nowrap;
    }
    thead th { font-weight: 600; vertical-align: bottom; white-space: normal; }
    tbody th { font-weight: 400; }
    th:first-child, td:first-child { padding-left: 0; }
    @media (max-width: 40rem) {
      svg text { font-size: 17px; }
    }
    @media print {
      :root {
        color-scheme: light;
        --ground: #ffffff; --text: #000000; --faint: #444444; --rule: #bbbbbb; --minor: #e4e4e4;
        --a: #1658b8; --b: #0b7a63; --c: #8a3ab9; --d: #a3262f; --cpu: #b3560b; --mark: #000000;
      }
      @page { margin: 15mm; }
      body { max-width: none; padding: 0; font-size: 10.5pt; }
      h2, h3, caption { break-after: avoid; }
      svg, tr, .answer { break-inside: avoid; }
      thead { display: table-header-group; }
      .wide { overflow: visible; }
      svg { max-width: 15cm; }
      svg text { font-size: 12.5px; }
      table { font-size: 8pt; }
      th, td { padding: .1rem .35rem; }
    }
    """
}
