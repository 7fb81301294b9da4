# Lines and branches of each room, from what `llvm-cov export -format=lcov` tells; what is there for tests alone is not counted.
# -v root=PROJECT -v missed=FILE: the lines that no test reached go to FILE. -v core="room room...": summed up last.

# The lines of a source file that exist in tests only: from `#[cfg(test)]` to the end of what it stands before.
function read_source(path,    line, n, indent, inside, text) {
    delete testing
    delete sources
    n = 0; inside = -1
    while ((getline line < path) > 0) {
        n++
        sources[n] = line
        match(line, /^ */); indent = RLENGTH; text = substr(line, indent + 1)
        if (inside < 0 && text ~ /^#\[cfg\(test\)\]/) { inside = indent; testing[n] = 1; continue }
        if (inside >= 0) {
            testing[n] = 1
            if (indent == inside && text ~ /[;},]$/) inside = -1
        }
    }
    close(path)
}

/^SF:/ {
    path = substr($0, 4)
    counted = index(path, root "/src/") == 1
    file = substr(path, length(root) + 2)
    if (file ~ /tests\// || file ~ /tests\.rs$/ || file ~ /^src\/(io\/faulty\/|format\/seeded\.rs|bin\/|lib\.rs)/) counted = 0
    if (!counted) next
    room = file; sub(/^src\//, "", room); sub(/(\/.*|\.rs)$/, "", room)
    read_source(path)
    next
}
!counted { next }
/^DA:/ {
    split(substr($0, 4), part, ",")
    if (part[1] in testing) next
    lines[room]++
    if (part[2] > 0) lines_hit[room]++
    else print file ":" part[1] ": " sources[part[1]] > missed
}
/^BRDA:/ {
    split(substr($0, 6), part, ",")
    if (part[1] in testing) next
    branches[room]++
    if (part[4] != "-" && part[4] > 0) branches_hit[room]++
}

function percent(part, of) { return of ? sprintf("%.1f %%", 100 * part / of) : "-" }
function row(name, l, lh, b, bh) {
    printf "| %s | %d | %s | %d | %s |\n", name, l, percent(lh, l), b, percent(bh, b)
}
END {
    print "| room | lines | reached | branches | taken |"
    print "|---|--:|--:|--:|--:|"
    n = split(core, order, " ")
    for (i = 1; i <= n; i++) {
        r = order[i]
        row(r, lines[r], lines_hit[r], branches[r], branches_hit[r])
        l += lines[r]; lh += lines_hit[r]; b += branches[r]; bh += branches_hit[r]
    }
    row("**together**", l, lh, b, bh)
    for (r in lines) if (index(" " core " ", " " r " ") == 0) row(r " (not core)", lines[r], lines_hit[r], branches[r], branches_hit[r])
}
