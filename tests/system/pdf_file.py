"""PDFs of as many pages as wanted, with real text in them: this project's own papers and sources, no page like another."""
import pathlib
import subprocess

TREE = pathlib.Path(__file__).resolve().parents[2]
LINES, COLUMNS = 48, 95


def real_lines():
    for pattern in ("*.md", "docs/*.md", "man/*.scd", "migrations/*.sql", "src/*/*.h", "src/*/*.c"):
        for path in sorted(TREE.glob(pattern)):
            for line in path.read_text().splitlines():
                if line.strip():
                    yield line.expandtabs(8)[:COLUMNS].encode("ascii", "replace")


def page_content(lines, n, n_pages):
    text = [b"(" + line.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)") + b") Tj T*" for line in lines]
    return b"BT /F 9 Tf 40 800 Td 15 TL\n" + b"\n".join(text) + b"\n(page %d of %d) Tj\nET\n" % (n, n_pages)


def make(path, n_pages):
    """Writes it. It is an error if there is not enough text, and the pages would repeat it."""
    source = real_lines()
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>"]
    kids = []
    for n in range(1, n_pages + 1):
        lines = [next(source) for _ in range(LINES)]
        content = page_content(lines, n, n_pages)
        objects.append(b"<< /Length %d >>\nstream\n" % len(content) + content + b"endstream")
        objects.append(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F 3 0 R >> >> /Contents %d 0 R >>"
                       % len(objects))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (n_pages, b" ".join(kids))
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for i, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % i + body + b"\nendobj\n"
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % p for p in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, xref)
    pathlib.Path(path).write_bytes(out)
    return pathlib.Path(path)


def pages(path):
    """What pdftotext says, page by page."""
    out = subprocess.run(["pdftotext", path, "-"], check=True, capture_output=True).stdout.decode()
    return out.split("\f")[:-1]
