"""Profiles in a report: shares, tables, the terminal, and reports that have none."""

import io
import json
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trimf.bench.report.comparison import compare_reports
from trimf.bench.report.html_report import render_page
from trimf.bench.report.markdown_report import build_tables, render_markdown
from trimf.bench.report.node_shares import MAX_ROWS, compute_node_shares, count_cpu_nodes
from trimf.bench.report.profile_tables import PROFILE_WARNING
from trimf.bench.report.report_reading import read_report
from trimf.bench.report.schema import ModelInfo, ProfiledNode, SubgraphProfile
from trimf.bench.report.summary import render_summary

from .reports import case, empty, full, pair, profile

SUBJECT = ModelInfo(name="trimf-int8", sha256="ab", precision="int8", products={})
NODES = st.lists(
    st.builds(
        ProfiledNode,
        name=st.text(max_size=3),
        operator=st.sampled_from([*"abcdefghijklmn", ""]),
        provider=st.sampled_from(["CPUExecutionProvider", "TensorRT"]),
        mean=st.floats(0, 1e6) | st.just(0.0),
        median=st.floats(0, 1e6),
    ),
    max_size=30,
)


def show(report, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render_summary(report))
    return console.file.getvalue().splitlines()


@given(NODES)
def test_shares_are_those_of_a_slow_sum(nodes):
    shares = compute_node_shares(SubgraphProfile(subgraph="encoder", runs=1, nodes=nodes))
    total = sum(node.mean for node in nodes)
    assert shares.mean == pytest.approx(total)
    means = sorted((node.mean for node in nodes), reverse=True)
    assert [node.mean for node, _ in shares.slowest] == means[:MAX_ROWS]
    assert (shares.rest.nodes if shares.rest else 0) == max(len(nodes) - MAX_ROWS, 0)
    listed = [*shares.operators, *([shares.other_operators] if shares.other_operators else [])]
    assert sum(entry.nodes for entry in listed) == len(nodes)
    for entry in shares.operators:
        same = [node.mean for node in nodes if node.operator == entry.operator]
        assert (entry.nodes, entry.mean) == (len(same), pytest.approx(sum(same)))
    if total:
        rest = shares.rest.share if shares.rest else 0
        assert sum(share for _, share in shares.slowest) + rest == pytest.approx(1)
        assert sum(entry.share for entry in listed) == pytest.approx(1)
    else:
        assert {share for _, share in shares.slowest} <= {0.0}


def test_nodes_on_the_cpu_are_counted_only_where_another_was_requested():
    on_cpu, on_gpu = profile(), profile(backend="cuda")
    assert count_cpu_nodes(on_cpu, on_cpu.subgraphs[0]) is None
    assert count_cpu_nodes(on_gpu, on_gpu.subgraphs[0]) == 15


def test_tables_have_ten_nodes_and_the_rest():
    report = empty(subjects=[SUBJECT], profiles=[profile(), profile(backend="cuda", batch_size=32)])
    tables = {table.title: table for table in build_tables(report)}
    assert list(tables)[1:] == [
        "Profile",
        "Slowest nodes: trimf-int8, int8, cpu, 1 thread, batch 1",
        "Time by operator: trimf-int8, int8, cpu, 1 thread, batch 1",
        "Slowest nodes: trimf-int8, int8, cuda, 1 thread, batch 32",
        "Time by operator: trimf-int8, int8, cuda, 1 thread, batch 32",
    ]
    overview, nodes, operators = list(tables.values())[1:4]
    assert [row[6:9] for row in overview.rows] == [
        ["100", "30", "–"],
        ["0", "–", "–"],
        ["100", "30", "15"],
        ["0", "–", "–"],
    ]
    assert len(nodes.rows) == MAX_ROWS + 1
    assert nodes.rows[0][:4] == ["encoder", "node_MatMul_29", "MatMulIntegerToFloat3", "CPUExecutionProvider"]
    assert nodes.rows[0][4:] == ["291.0", "261.0", "6.6"]
    assert nodes.rows[-1][1] == "20 other nodes"
    assert sum(float(row[-1]) for row in nodes.rows) == pytest.approx(100, abs=0.6)
    assert len(operators.rows) == MAX_ROWS + 1
    assert sum(int(row[2]) for row in operators.rows) == 30
    assert all(PROFILE_WARNING in table.note for table in (overview, nodes, operators))


def test_the_terminal_shows_every_profile_at_80_columns():
    report = empty(
        subjects=[SUBJECT],
        profiles=[profile(name="/encoder/layer.11/attention/output/dense/MatMul_quant_"), profile(backend="cuda")],
    )
    lines = show(report)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "Profile: trimf-int8, int8, cpu, 1 thread, batch 1" in text
    assert "encoder: 30 nodes after optimization, all on CPU, 100 runs" in text
    assert "encoder: 30 nodes after optimization, 100 runs, 15 on the CPU instead of cuda" in text
    assert text.count("relations: the data did not need it") == 2
    assert text.count(PROFILE_WARNING) == 2
    assert len(re.findall(r"^20 other nodes +1,920\.0 +43\.\d *$", text, re.M)) == 2
    assert "others" in text
    assert "…" not in text
    joined = "".join(text.split())
    assert "MatMulIntegerToFloat3" in joined
    assert not any("Profile" in line for line in show(full()))


def test_a_subgraph_of_one_node():
    lines = [line.strip() for line in show(empty(profiles=[profile(nodes=1)]), 40)]
    assert "encoder: 1 node after optimization, all" in lines
    assert not any("other nodes" in line for line in lines)


def test_names_of_nodes_are_harmless():
    hostile = '"><script>alert(1)</script>|`x`\x1b[31m\u202e\n[bold]'
    report = empty(profiles=[profile(name=hostile, model=hostile)])
    page, text = render_page(report), render_markdown(report)
    assert "<script" not in page + text.replace("\\<", "")
    assert "\x1b" not in page + text + "".join(show(report))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {12, 9, 7}
    assert [line for line in text.splitlines() if line.startswith("## ")] != []


def test_the_page_has_every_node_of_the_tables():
    pytest.importorskip("matplotlib")
    page = render_page(empty(profiles=[profile(backend="cuda")]))
    assert all(f">node_MatMul_{place}<" in page for place in range(20, 30))
    assert ">20 other nodes<" in page


def test_profiles_do_not_change_a_comparison():
    a, b = pair(0), pair(1)
    with_profile = [msgspec.structs.replace(one, profiles=[profile(), profile(batch_size=8)]) for one in (a, b)]
    assert compare_reports(*with_profile) == compare_reports(a, b)
    assert compare_reports(a, with_profile[1]) == compare_reports(a, b)


def test_a_report_without_profiles_is_still_read(tmp_path):
    rng = np.random.default_rng(0)
    report = empty(cases=[case(rng, "one", of={"count": 1, "calls": 3})])
    old = json.loads(msgspec.json.encode(report)) | {"schema_version": 1}
    del old["profiles"]
    (tmp_path / "report.json").write_text(json.dumps(old))
    found = read_report(tmp_path)
    assert (found.schema_version, found.profiles, found.cases) == (1, [], report.cases)
