. "${BASH_SOURCE[0]%/*}/iii"
