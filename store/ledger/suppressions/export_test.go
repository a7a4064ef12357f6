package suppressions

// RemoveEnded is the statement that removes old suppressions.
const RemoveEnded = removeEnded
