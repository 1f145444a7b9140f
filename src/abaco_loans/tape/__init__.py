"""What a loan tape is: contract, mapping, cell typing, row rules, masking, servicing records. Pure."""
