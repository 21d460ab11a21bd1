"""Other values than those of the traced call: ``cases`` makes inputs of them."""
