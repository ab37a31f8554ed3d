# Puts the compiler's own headers, precompiled with the flags of the language `cpp`, into /pch; run in the image.
set -e
mkdir -p /pch/bits
for header in bits/stdc++.h iostream; do
    echo "#include <$header>" > /tmp/header.h
    g++ -std=c++17 -O2 -x c++-header -o "/pch/$header.gch" /tmp/header.h
    # A header that is included once more is looked for where it was found the first time.
    printf '#pragma GCC system_header\n#include_next <%s>\n' "$header" > "/pch/$header"
done
